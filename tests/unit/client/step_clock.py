"""A clock that goes on only when a test says so."""

from __future__ import annotations

import asyncio


class StepClock:
    """Shows what it is told; who sleeps wakes when it has come that far."""

    def __init__(self) -> None:
        self.now = 1_700_000_000 * 10**9
        self._sleepers: list[tuple[int, asyncio.Event]] = []
        self._news = asyncio.Event()

    def time_ns(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        sleeper = (self.now + round(seconds * 1e9), woken)
        self._sleepers.append(sleeper)
        self._news.set()
        try:
            await woken.wait()
        finally:
            self._sleepers.remove(sleeper)

    async def somebody_sleeps(self, until: float) -> None:
        """Waits until somebody sleeps for so many seconds from now."""
        while self.now + round(until * 1e9) not in [due for due, _ in self._sleepers]:
            self._news.clear()
            await self._news.wait()

    def advance(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)
        for due, woken in self._sleepers:
            if due <= self.now:
                woken.set()
