"""Writes that nobody waits for: gathered into commits, in the background, the latest of each thing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from sira_grpc.commits import ATTEMPTS
from sira_grpc.errors import Conflict, StoreUnavailable
from sira_grpc.store.api import MAX_OPS, Op

RETRY_SECONDS = 0.5

log = logging.getLogger(__name__)


class WriteBehind:
    """A set of things to write, and the one task that writes them.

    Memory is bounded by the number of things: marking one twice before it is written writes it once, as it then is.

    Args:
        commit: writes operations, and returns when what `build` reads shows them: what is marked meanwhile is compared
            with them, not with what was there before.
        build: makes the operation for a thing as it is now; None when there is nothing to write any more. It is asked
            again when a write failed.
    """

    def __init__(self, commit: Callable[[Sequence[Op]], Awaitable[int]], build: Callable[[str], Op | None]) -> None:
        self._commit = commit
        self._build = build
        self._marked: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._contended = 0  # tries in this flush that others came in between

    def mark(self, thing: str) -> None:
        """Has a thing written soon."""
        self._marked[thing] = None
        self._wake.set()

    async def run(self) -> None:
        """Writes for ever; cancelled by its owner. A store that cannot write is tried again every half second."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not await self.flush():  # and then something is marked
                await asyncio.sleep(RETRY_SECONDS)

    async def flush(self) -> bool:
        """Writes what is marked; False if the store cannot, or others came in between eight times: it stays marked."""
        async with self._writing:
            self._contended = 0
            while self._marked:
                if not await self._write_some() or self._contended == ATTEMPTS:
                    return False
            return True

    async def _write_some(self) -> bool:
        taken = list(islice(self._marked, MAX_OPS))
        for thing in taken:
            del self._marked[thing]
        ops = [op for op in map(self._build, taken) if op is not None]
        if not ops:
            return True
        try:
            await self._commit(ops)
        except Conflict:
            await self._write_singly(taken)
        except StoreUnavailable:
            log.warning("the store cannot write; %d changes of state wait for it", len(ops), exc_info=True)
            self._mark_again(taken)
            return False
        except asyncio.CancelledError:
            self._mark_again(taken)  # whether they were written is not known
            raise
        return True

    async def _write_singly(self, things: list[str]) -> None:
        contended = False
        for thing in things:
            op = self._build(thing)
            if op is None:
                continue
            try:
                await self._commit([op])
            except (Conflict, StoreUnavailable):
                self._mark_again([thing])
                contended = True
        self._contended += contended

    def _mark_again(self, things: list[str]) -> None:
        for thing in things:
            self._marked.setdefault(thing)
        self._wake.set()
