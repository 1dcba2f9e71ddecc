"""What is done to the open partitions as time goes by: old frames go, topics are compacted, and strays are found."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from weakref import WeakSet

from sira_grpc.bus.compaction import compact, compactable, discard_orphan
from sira_grpc.bus.partition import Partition
from sira_grpc.bus.partitions import OpenPartition
from sira_grpc.bus.retention import overdue, retain
from sira_grpc.bus.tenure import FencedRecords, Records
from sira_grpc.clock import Clock
from sira_grpc.errors import SiraError

RETAIN_SECONDS = 1.0
COMPACT_SECONDS = 10.0
STRAY_SECONDS = 5.0
AT_ONCE = 1000
"""Partitions that are looked at before others have a turn."""

log = logging.getLogger(__name__)


class Upkeep:
    """Does it every second, every five seconds, and every ten seconds.

    Args:
        opened: returns the partitions that are open.
        store: where it says what was compacted.
        clock: says how old frames are.
    """

    def __init__(self, opened: Callable[[], Sequence[OpenPartition]], store: Records, clock: Clock) -> None:
        self._opened = opened
        self._store = store
        self._clock = clock
        self._swept: WeakSet[Partition] = WeakSet()

    async def run(self) -> None:
        """Does it for ever; cancelled by its owner. What fails is tried again the next time."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(RETAIN_SECONDS, self.retain), name="bus retention")
            group.create_task(self._every(COMPACT_SECONDS, self.compact), name="bus compaction")
            group.create_task(self._every(STRAY_SECONDS, self.find_strays), name="bus strays")

    async def _every(self, seconds: float, work: Callable[[OpenPartition], Awaitable[None]]) -> None:
        while True:
            for number, each in enumerate(self._opened()):
                try:
                    await work(each)
                except SiraError:
                    log.warning("%s: upkeep failed; it is tried again", each.partition.log, exc_info=True)
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(seconds)

    async def retain(self, opened: OpenPartition) -> None:
        """Takes out what is too old or too much.

        Raises:
            StoreUnavailable: the partition cannot be read now.
        """
        now = self._clock.time_ns()
        if overdue(opened.partition, now):
            await retain(opened.partition, now)

    async def find_strays(self, opened: OpenPartition) -> None:
        """Looks whether the member that had a partition before has appended to it since it was opened here.

        A member that was stopped for a while may, with nobody noticing: what is appended here next is refused then,
        but until something is, what came there would wait for its delivery. It ends the tenure, so that the namespace
        is opened anew. Once something was appended here, the other can append no more.

        Raises:
            StoreUnavailable: the partition cannot be read now.
        """
        partition, scheduled = opened.partition, opened.scheduled.frames
        if not opened.tenure.shared or partition.settings.in_memory:
            return
        if not partition.appended_to:
            await self._compare(opened, partition.log, lambda: partition.live.next)
        if not scheduled.appended and not opened.tenure.left.is_set():
            await self._compare(opened, scheduled.name, lambda: scheduled.place)

    @staticmethod
    async def _compare(opened: OpenPartition, log: str, following: Callable[[], int]) -> None:
        held = await opened.partition.logs.range(log)
        if held.next > following() and not opened.tenure.left.is_set():
            opened.tenure.end(f"{log} was appended to by the member that had it before")

    async def compact(self, opened: OpenPartition) -> None:
        """Compacts a partition where that is worth it.

        Raises:
            StoreUnavailable, Conflict: it is to be tried again.
        """
        partition = opened.partition
        if partition.settings.compaction is None:
            return
        if partition not in self._swept:
            await discard_orphan(partition)
            self._swept.add(partition)
        now = self._clock.time_ns()
        if await compactable(partition, now):
            await compact(partition, FencedRecords(self._store, opened.tenure), now)
