"""The partitions that are open, each opened when it is first needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from sira_grpc.bus import names
from sira_grpc.bus.appending import Appender
from sira_grpc.bus.compaction import load_compaction
from sira_grpc.bus.memory_logs import MemoryLogs
from sira_grpc.bus.metrics import BusMetrics
from sira_grpc.bus.partition import Partition
from sira_grpc.bus.recent import RecentBudget
from sira_grpc.bus.retention import retain
from sira_grpc.bus.scheduled import Scheduled
from sira_grpc.bus.tenure import FencedLogs, FencedRecords, Tenure, Tenures
from sira_grpc.bus.view import BusView, TopicEntry
from sira_grpc.clock import Clock
from sira_grpc.config import BusConfig
from sira_grpc.errors import FieldViolation, InvalidField, NotOwner, TopicNotFound
from sira_grpc.store.api import LogStore, Store

OPENED_AT_ONCE = 32
"""Partitions: each takes a few requests to the store."""


@dataclass(frozen=True, slots=True)
class OpenPartition:
    """A partition with all that works on it.

    Attributes:
        partition: what it holds.
        appender: puts frames into it.
        scheduled: its records whose time has not come.
        tenure: for which it is open.
    """

    partition: Partition
    appender: Appender
    scheduled: Scheduled
    tenure: Tenure


class Partitions:
    """Opens, keeps and closes partitions. Those of a namespace that is let go of are opened afresh when it comes back.

    What a topic holds in memory is in that of the member that serves its namespace: when the namespace goes to another
    member it is emptied, as when the kernel ends.

    Args:
        store: where topics on disk are.
        view: says which topics there are.
        config: memory_bytes and cache_bytes are used.
        clock: dates frames.
        metrics: counts.
        tenure: see Tenures.
    """

    def __init__(
        self,
        store: Store,
        view: BusView,
        config: BusConfig,
        clock: Clock,
        metrics: BusMetrics,
        tenure: Tenures,
    ) -> None:
        self._store = store
        self._tenure = tenure
        self._turns = asyncio.Semaphore(OPENED_AT_ONCE)
        self._memory = MemoryLogs(clock, config.memory_bytes)
        self._view = view
        self._clock = clock
        self._metrics = metrics
        self._budget = RecentBudget(config.cache_bytes)
        self._open: dict[tuple[str, int], OpenPartition] = {}
        self._opening: dict[tuple[Tenure, str, int], asyncio.Task[OpenPartition]] = {}
        self._closing: dict[asyncio.Task[None], str] = {}
        # Namespaces of the topics in memory that were opened, by uid.
        self._in_memory: dict[str, str] = {}
        view.hooks.topic_written.append(self._written)
        view.hooks.topic_gone.append(self._gone)

    def opened(self) -> Sequence[OpenPartition]:
        """Returns those that are open."""
        return tuple(self._open.values())

    def logs(self, topic: TopicEntry) -> LogStore:
        """Returns where the logs of a topic are, without a fence."""
        return self._memory if topic.settings.in_memory else self._store

    async def get(self, topic: TopicEntry, number: int, *, patient: bool = True) -> OpenPartition:
        """Returns a partition of a topic, open.

        Args:
            topic: of which.
            number: of the partition.
            patient: see Tenures.

        Raises:
            InvalidField: the topic has no such partition.
            TopicNotFound: the topic was deleted.
            NotOwner: another member serves its namespace.
            StoreUnavailable, StoreCorrupt: it cannot be opened.
        """
        key = (topic.uid, number)
        found = self._open.get(key)
        if found is not None:
            return found
        if number >= topic.settings.partitions:
            rule = f"must be below {topic.settings.partitions}, the number of partitions"
            raise InvalidField([FieldViolation("partition", rule)])
        # What opens it has a tenure, and waits for none: the end of a tenure may be waiting for it.
        tenure = await self._tenure(names.namespace_of(topic.name), patient=patient)
        tenure.check_begin()
        found = self._open.get(key)
        return found if found is not None else await asyncio.shield(self._begin(tenure, topic, number))

    def _begin(self, tenure: Tenure, topic: TopicEntry, number: int) -> asyncio.Task[OpenPartition]:
        key = (tenure, topic.uid, number)
        task = self._opening.get(key)
        if task is None:
            work = self._open_one(tenure, topic, number)
            task = self._opening[key] = asyncio.create_task(work, name=f"bus open {topic.uid}/{number}")
            task.add_done_callback(lambda done: self._opened(key, done))
        return task

    async def all_of(self, topic: TopicEntry) -> list[OpenPartition]:
        """Returns all partitions of a topic, open. Raises: as get()."""
        return await asyncio.gather(*(self.get(topic, number) for number in range(topic.settings.partitions)))

    async def _open_one(self, tenure: Tenure, topic: TopicEntry, number: int) -> OpenPartition:
        async with self._turns:
            return await self._open_for(tenure, topic, number)

    async def _open_for(self, tenure: Tenure, topic: TopicEntry, number: int) -> OpenPartition:
        if topic.settings.in_memory:
            self._in_memory[topic.uid] = tenure.namespace
        logs = FencedLogs(self.logs(topic), tenure)
        partition = Partition(logs, names.short(topic.name), topic.uid, number, topic.settings, self._budget)
        records = FencedRecords(self._store, tenure)
        partition.confirm = records.confirm
        await partition.open(await load_compaction(records, topic.uid, number))
        await retain(partition, self._clock.time_ns())  # before anybody reads what is too old
        scheduled = Scheduled(partition, self._clock)
        appender = Appender(partition, scheduled, self._clock, self._metrics)
        await scheduled.open(appender.publish)
        if self._view.topics_by_uid.get(topic.uid) is not topic:
            await scheduled.close()
            raise TopicNotFound(f"{topic.name} was deleted", metadata={"resource": topic.name})
        if tenure.left.is_set():
            await scheduled.close()
            tenure.check_begin()
        partition.settings = topic.settings
        opened = self._open[topic.uid, number] = OpenPartition(partition, appender, scheduled, tenure)
        return opened

    def _opened(self, key: tuple[Tenure, str, int], task: asyncio.Task[OpenPartition]) -> None:
        del self._opening[key]
        if not task.cancelled():
            task.exception()  # it is for those who wait, if any still do

    def _written(self, topic: TopicEntry) -> None:
        for number in range(topic.settings.partitions):
            opened = self._open.get((topic.uid, number))
            if opened is not None:
                opened.partition.settings = topic.settings
                opened.partition.ids.window_ns = topic.settings.deduplication_ns

    def _gone(self, topic: TopicEntry) -> None:
        for number in range(topic.settings.partitions):
            opened = self._open.pop((topic.uid, number), None)
            if opened is not None:
                task = asyncio.create_task(self._discard(opened), name=f"bus close {opened.partition.log}")
                self._closing[task] = topic.uid
                task.add_done_callback(self._closing.pop)

    async def _discard(self, opened: OpenPartition) -> None:
        """Lets go of a partition whose topic was deleted; what is still on its way into it goes with it."""
        await opened.scheduled.close()
        await opened.appender.idle()
        opened.partition.close()
        await opened.partition.idle()
        if opened.partition.settings.in_memory:
            for log in names.logs_of(opened.partition.topic_uid, opened.partition.number):
                await self._memory.delete_partition(log)

    def let_go(self, namespace: str, error: NotOwner, *, orderly: bool) -> Awaitable[None]:
        """See Served."""
        gone = {key: opened for key, opened in self._open.items() if opened.tenure.namespace == namespace}
        for key, opened in gone.items():
            del self._open[key]
            opened.partition.closed = True
        tasks = [
            asyncio.create_task(self._leave(opened, orderly=orderly), name=f"bus close {opened.partition.log}")
            for opened in gone.values()
        ]
        for task, (uid, _) in zip(tasks, gone, strict=True):
            self._closing[task] = uid
            task.add_done_callback(self._closing.pop)
        return _all_of(tasks)

    @staticmethod
    async def _leave(opened: OpenPartition, *, orderly: bool) -> None:
        await opened.scheduled.close()
        await (opened.appender.close() if orderly else opened.appender.idle())
        await opened.partition.idle()
        opened.partition.close()

    async def forget(self, namespace: str) -> None:
        """Empties the topics of a namespace that are in memory: another member has them, or had them in between."""
        for uid in [uid for uid, within in self._in_memory.items() if within == namespace]:
            del self._in_memory[uid]
            self._memory.forget(uid)

    async def released(self, topic_uid: str) -> None:
        """Returns once nothing is written any more to the logs of a topic that is gone."""
        opening = [task for (_, uid, _), task in self._opening.items() if uid == topic_uid]
        closing = [task for task, uid in self._closing.items() if uid == topic_uid]
        await asyncio.gather(*opening, *closing, return_exceptions=True)


async def _all_of(tasks: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
