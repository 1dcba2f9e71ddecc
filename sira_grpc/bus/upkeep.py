"""What is done to the open partitions as time goes by: old frames are taken out, and topics compacted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from weakref import WeakSet

from sira_grpc.bus.compaction import compact, compactable, discard_orphan
from sira_grpc.bus.partition import Partition
from sira_grpc.bus.partitions import OpenPartition
from sira_grpc.bus.retention import overdue, retain
from sira_grpc.clock import Clock
from sira_grpc.errors import SiraError
from sira_grpc.store.api import StateStore

RETAIN_SECONDS = 1.0
COMPACT_SECONDS = 10.0
AT_ONCE = 1000
"""Partitions that are looked at before others have a turn."""

log = logging.getLogger(__name__)


class Upkeep:
    """Does it every second, and every ten seconds.

    Args:
        opened: returns the partitions that are open.
        store: where it says what was compacted.
        clock: says how old frames are.
    """

    def __init__(self, opened: Callable[[], Sequence[OpenPartition]], store: StateStore, clock: Clock) -> None:
        self._opened = opened
        self._store = store
        self._clock = clock
        self._swept: WeakSet[Partition] = WeakSet()

    async def run(self) -> None:
        """Does it for ever; cancelled by its owner. What fails is tried again the next time."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(RETAIN_SECONDS, self.retain), name="bus retention")
            group.create_task(self._every(COMPACT_SECONDS, self.compact), name="bus compaction")

    async def _every(self, seconds: float, work: Callable[[Partition], Awaitable[None]]) -> None:
        while True:
            for number, each in enumerate(self._opened()):
                try:
                    await work(each.partition)
                except SiraError:
                    log.warning("%s: upkeep failed; it is tried again", each.partition.log, exc_info=True)
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(seconds)

    async def retain(self, partition: Partition) -> None:
        """Takes out what is too old or too much.

        Raises:
            StoreUnavailable: the partition cannot be read now.
        """
        now = self._clock.time_ns()
        if overdue(partition, now):
            await retain(partition, now)

    async def compact(self, partition: Partition) -> None:
        """Compacts a partition where that is worth it.

        Raises:
            StoreUnavailable, Conflict: it is to be tried again.
        """
        if partition.settings.compaction is None:
            return
        if partition not in self._swept:
            await discard_orphan(partition)
            self._swept.add(partition)
        now = self._clock.time_ns()
        if await compactable(partition, now):
            await compact(partition, self._store, now)
