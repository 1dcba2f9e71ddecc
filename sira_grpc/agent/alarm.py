"""A sleep that somebody else can end."""

from __future__ import annotations

import asyncio

from sira_client.clock import Clock

LONGEST = 60.0
"""Seconds of one sleep: then the time is looked at again, which may have been set, or stood still in a suspended
machine."""


class Alarm:
    """Waits for a while, or until it is rung. For one waiter; a ring before the wait counts too."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Ends the wait, or the next one."""
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Waits for so many seconds, at most LONGEST."""
        sleeping = asyncio.ensure_future(self._clock.sleep(max(0.0, min(seconds, LONGEST))))
        ringing = asyncio.ensure_future(self._rung.wait())
        try:
            await asyncio.wait({sleeping, ringing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            ringing.cancel()
        self._rung.clear()
