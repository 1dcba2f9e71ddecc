"""The turns of writes that touch the same keys: in the order in which they came, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager


class Turns:
    """Keys, each with the last write that has asked for it. For one event loop."""

    def __init__(self) -> None:
        self._last: dict[str, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def of(self, keys: Iterable[str]) -> AsyncIterator[None]:
        """Holds keys, from when all who asked for one of them before have let go. Places are taken at once, so that
        no two can wait for each other."""
        held = tuple(keys)
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        before = [last for key in held if (last := self._last.get(key)) is not None]
        for key in held:
            self._last[key] = mine
        try:
            for last in before:
                if not last.done():
                    await asyncio.wait([last])
            yield
        finally:
            mine.set_result(None)
            for key in held:
                if self._last.get(key) is mine:
                    del self._last[key]
