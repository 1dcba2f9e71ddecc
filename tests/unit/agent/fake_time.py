"""Time for the agent that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class FakeTime:
    """The client's Clock: whoever sleeps wakes when the time is moved past his end."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._asleep = asyncio.Condition()

    def time_ns(self) -> int:
        return round(self.now * 1e9)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._numbers), future))
        async with self._asleep:
            self._asleep.notify_all()
        await future

    async def asleep(self) -> None:
        """Returns once somebody sleeps."""
        async with self._asleep:
            await self._asleep.wait_for(self._next)

    def _next(self) -> float | None:
        """When the first sleeper wakes."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    async def advance(self, seconds: float) -> None:
        """Moves the time, from one sleeper to the next, each of whom gets to run and to sleep again."""
        end = self.now + seconds
        while True:
            await self.asleep()
            due = self._next()
            assert due is not None
            if due > end:
                self.now = end
                return
            self.now = max(self.now, due)
            heapq.heappop(self._sleepers)[2].set_result(None)
            await _settle()


async def _settle() -> None:
    """Lets everything run that can, of what waits for nothing but time."""
    for _ in range(20):
        await asyncio.sleep(0)
