"""Ends claims that have run out, and takes up those of members that are gone."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from typing import Any

from sira_grpc.cluster.claim_keeper import ClaimKeeper
from sira_grpc.cluster.claim_table import ClaimTable
from sira_grpc.cluster.claim_time import ClaimTime
from sira_grpc.errors import Conflict, StoreUnavailable
from sira_grpc.store.api import Store

SWEEP_SECONDS = 0.2
AT_ONCE = 64
"""Locks that are written at the same time, at most."""

log = logging.getLogger(__name__)


class ClaimExpiry:
    """The one task that lets claims expire."""

    def __init__(self, store: Store, table: ClaimTable, keeper: ClaimKeeper, time: ClaimTime) -> None:
        self._store = store
        self._table = table
        self._keeper = keeper
        self._time = time

    async def run(self) -> None:
        """Sweeps for ever; cancelled by its owner."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep()

    async def sweep(self) -> None:
        """Lets time go on, and ends what has run out. What cannot be written comes up again."""
        self._time.tick(counts=self._store.available)
        due: defaultdict[str, list[str]] = defaultdict(list)
        for lock, claim in self._table.due():
            due[lock].append(claim)
        await self._each([self._adopt(lock) for lock in {lock for lock, _ in self._table.orphans()}])
        await self._each([self._expire(lock, ids) for lock, ids in due.items()])

    async def _each(self, works: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Does what is to be done, some of it at the same time."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def in_turn(work: Coroutine[Any, Any, None]) -> None:
            async with turns:
                await work

        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(in_turn(work))

    async def _adopt(self, lock: str) -> None:
        try:
            await self._keeper.adopt(lock)
        except (StoreUnavailable, Conflict) as error:
            log.warning("claims on %s, whose member is gone, are not taken up yet: %s", lock, error)

    async def _expire(self, lock: str, ids: list[str]) -> None:
        try:
            await self._keeper.expire(lock, ids)
        except (StoreUnavailable, Conflict) as error:
            log.warning("%d claims on %s that have run out stay for now: %s", len(ids), lock, error)
