"""Finding out how far the state has come: by a write, because a server that no longer leads may answer reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Sync:
    """Asks at most once at a time: who comes while a question is under way waits for the next, with all others.

    Args:
        ask: writes a message that changes nothing, and returns the revision that the mirror has then.
    """

    def __init__(self, ask: Callable[[], Awaitable[int]]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[int] | None = None
        self._next: asyncio.Task[int] | None = None

    async def sync(self) -> int:
        """See StateStore.sync."""
        if self._next is None:
            self._next = asyncio.create_task(self._round(self._asking), name="sira-store-sync")
            self._next.add_done_callback(_heard)
        return await asyncio.shield(self._next)

    async def _round(self, before: asyncio.Task[int] | None) -> int:
        if before is not None:
            await asyncio.wait([before])
        self._asking, self._next = self._next, None
        return await self._ask()


def _heard(task: asyncio.Task[int]) -> None:
    if not task.cancelled():
        task.exception()  # it is for those who wait, if any still do
