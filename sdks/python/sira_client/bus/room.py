"""A bounded number of bytes that are taken and given back, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque


class Room:
    """Room for so many bytes.

    What is larger than all of it gets in when it is empty: else it never would.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def try_take(self, size: int) -> bool:
        """Takes room if there is enough and nobody waits for it."""
        if self._waiting or not self._fits(size):
            return False
        self._taken += size
        return True

    async def take(self, size: int) -> None:
        """Takes room, and waits until there is enough. Who came first gets it first."""
        if self.try_take(size):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(size)
            elif (size, turn) in self._waiting:
                self._waiting.remove((size, turn))
                self._admit()
            raise

    def give(self, size: int) -> None:
        """Gives room back."""
        self._taken -= size
        self._admit()

    def _fits(self, size: int) -> bool:
        return self._taken + size <= self._size or not self._taken

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._taken += size
                turn.set_result(None)
