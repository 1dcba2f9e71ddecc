"""Time, as the client is handed it."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def time_ns(self) -> int:
        """Wall-clock time in Unix nanoseconds."""

    async def sleep(self, seconds: float) -> None:
        """Waits."""


class SystemClock:
    """The machine's own clock and the event loop's timers."""

    def time_ns(self) -> int:
        """See Clock."""
        return time.time_ns()

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await asyncio.sleep(seconds)
