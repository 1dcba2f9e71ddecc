"""The partitions that are open, each opened when it is first needed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
from sira_grpc.bus.view import BusView, TopicEntry
from sira_grpc.clock import Clock
from sira_grpc.config import BusConfig
from sira_grpc.errors import FieldViolation, InvalidField, TopicNotFound
from sira_grpc.store.api import LogStore, Store


@dataclass(frozen=True, slots=True)
class OpenPartition:
    """A partition with all that works on it.

    Attributes:
        partition: what it holds.
        appender: puts frames into it.
        scheduled: its records whose time has not come.
    """

    partition: Partition
    appender: Appender
    scheduled: Scheduled


class Partitions:
    """Opens, keeps and closes partitions.

    Args:
        store: where topics on disk are.
        view: says which topics there are.
        config: memory_bytes and cache_bytes are used.
        clock: dates frames.
        metrics: counts.
    """

    def __init__(self, store: Store, view: BusView, config: BusConfig, clock: Clock, metrics: BusMetrics) -> None:
        self._store = store
        self._memory = MemoryLogs(clock, config.memory_bytes)
        self._view = view
        self._clock = clock
        self._metrics = metrics
        self._budget = RecentBudget(config.cache_bytes)
        self._open: dict[tuple[str, int], OpenPartition] = {}
        self._opening: dict[tuple[str, int], asyncio.Task[OpenPartition]] = {}
        self._closing: dict[asyncio.Task[None], str] = {}
        view.hooks.topic_written.append(self._written)
        view.hooks.topic_gone.append(self._gone)

    def opened(self) -> Sequence[OpenPartition]:
        """Returns those that are open."""
        return tuple(self._open.values())

    def logs(self, topic: TopicEntry) -> LogStore:
        """Returns where the logs of a topic are."""
        return self._memory if topic.settings.in_memory else self._store

    async def get(self, topic: TopicEntry, number: int) -> OpenPartition:
        """Returns a partition of a topic, open.

        Raises:
            InvalidField: the topic has no such partition.
            TopicNotFound: the topic was deleted.
            StoreUnavailable, StoreCorrupt: it cannot be opened.
        """
        key = (topic.uid, number)
        found = self._open.get(key)
        if found is not None:
            return found
        if number >= topic.settings.partitions:
            rule = f"must be below {topic.settings.partitions}, the number of partitions"
            raise InvalidField([FieldViolation("partition", rule)])
        task = self._opening.get(key)
        if task is None:
            task = self._opening[key] = asyncio.create_task(self._open_one(topic, number), name=f"bus open {key}")
            task.add_done_callback(lambda done: self._opened(key, done))
        return await asyncio.shield(task)

    async def all_of(self, topic: TopicEntry) -> list[OpenPartition]:
        """Returns all partitions of a topic, open. Raises: as get()."""
        return [await self.get(topic, number) for number in range(topic.settings.partitions)]

    async def _open_one(self, topic: TopicEntry, number: int) -> OpenPartition:
        short, logs = names.short(topic.name), self.logs(topic)
        partition = Partition(logs, short, topic.uid, number, topic.settings, self._budget)
        await partition.open(await load_compaction(self._store, topic.uid, number))
        await retain(partition, self._clock.time_ns())  # before anybody reads what is too old
        scheduled = Scheduled(partition, self._clock)
        appender = Appender(partition, scheduled, self._clock, self._metrics)
        await scheduled.open(appender.publish)
        if self._view.topics_by_uid.get(topic.uid) is not topic:
            await scheduled.close()
            raise TopicNotFound(f"{topic.name} was deleted", metadata={"resource": topic.name})
        partition.settings = topic.settings
        opened = self._open[topic.uid, number] = OpenPartition(partition, appender, scheduled)
        return opened

    def _opened(self, key: tuple[str, int], task: asyncio.Task[OpenPartition]) -> None:
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
        if opened.partition.logs is self._memory:
            for log in names.logs_of(opened.partition.topic_uid, opened.partition.number):
                await self._memory.delete_partition(log)

    async def released(self, topic_uid: str) -> None:
        """Returns once nothing is written any more to the logs of a topic that is gone."""
        opening = [task for (uid, _), task in self._opening.items() if uid == topic_uid]
        closing = [task for task, uid in self._closing.items() if uid == topic_uid]
        await asyncio.gather(*opening, *closing, return_exceptions=True)

    async def close(self) -> None:
        """Finishes what is on its way, and leaves the partitions so that they open at once."""
        for task in tuple(self._opening.values()):
            task.cancel()
        await asyncio.gather(*self._opening.values(), *self._closing, return_exceptions=True)
        for opened in self._open.values():
            await opened.scheduled.close()
            await opened.appender.close()
        self._open.clear()
