"""A bound, in bytes, on what waits in a queue: whoever would exceed it waits its turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class ByteBudget:
    """A weighted first-come, first-served semaphore for one event loop. Something larger than the limit goes alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Waits until size bytes fit, and takes them."""
        if not self._waiting and self._fits(size):
            self._taken += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.give(size)
            raise

    def give(self, size: int) -> None:
        """Returns what was taken, and lets in whoever fits now."""
        self._taken -= size
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            waiting_size, turn = self._waiting.popleft()
            if not turn.done():
                self._taken += waiting_size
                turn.set_result(None)

    def fail(self, error: Callable[[], Exception]) -> None:
        """Raises an error in everyone who waits."""
        while self._waiting:
            _, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(error())

    def _fits(self, size: int) -> bool:
        return not self._taken or self._taken + size <= self._limit
