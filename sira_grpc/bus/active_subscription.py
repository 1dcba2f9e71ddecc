"""A subscription at work: the partitions that it reads, its consumers, and how far it has come."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

from sira.bus.v1.subscription_pb2 import PartitionLag, StartPosition, SubscriptionStatus

from sira_grpc.background import Background
from sira_grpc.bus import names
from sira_grpc.bus.consumer import Consumer
from sira_grpc.bus.dead_letters import DeadLetters
from sira_grpc.bus.dispatcher import Dispatcher
from sira_grpc.bus.metrics import BusMetrics
from sira_grpc.bus.partitions import Partitions
from sira_grpc.bus.positions import check_position, offset_of
from sira_grpc.bus.settings import SubscriptionSettings
from sira_grpc.bus.settling import Settling
from sira_grpc.bus.source import Source
from sira_grpc.bus.view import BusView, SubscriptionEntry, TopicEntry
from sira_grpc.clock import Clock
from sira_grpc.errors import FieldViolation, InvalidField, SiraError, SubscriptionNotFound


class ActiveSubscription:
    """Delivers to the consumers of one subscription. `open` begins, `close` ends.

    Args:
        entry: what it is.
        view, partitions: what it reads.
        dead_letters: where it puts what it gives up.
        clock, rng: see Source.
        metrics: counts.

    Attributes:
        sources: by topic, without its namespace, and partition.
        consumers: by number.
        settling: takes what becomes of records.
    """

    def __init__(
        self,
        entry: SubscriptionEntry,
        view: BusView,
        partitions: Partitions,
        dead_letters: DeadLetters,
        clock: Clock,
        rng: random.Random,
        metrics: BusMetrics,
    ) -> None:
        self.entry = entry
        self.dead_letters = dead_letters
        self.sources: dict[tuple[str, int], Source] = {}
        self.consumers: dict[int, Consumer] = {}
        self.settling = Settling(self.sources, dead_letters, self._consumer_name, self.wake, clock, metrics)
        self._view = view
        self._partitions = partitions
        self._clock = clock
        self._rng = rng
        self._dispatcher = Dispatcher(
            entry.name, self.sources, self.consumers, self.settling, self._paused, clock, metrics
        )
        self._stale = True
        self._following = asyncio.Lock()
        self._background = Background()

    async def open(self, failed: Callable[[], object]) -> None:
        """Takes up where it was left, and begins to deliver; `failed` is called if that ends by itself."""
        await self.dead_letters.open()
        async with self._following:
            await self._follow_topics()
        task = self._background.own(self._run(), f"bus subscription {self.entry.name}")
        task.add_done_callback(lambda done: None if done.cancelled() else failed())

    async def close(self) -> None:
        """Ends it: what was settled is durable when this returns."""
        await self._background.cancel()
        await self.settling.close()
        for source in self.sources.values():
            await self._part(source)
        await self.dead_letters.close()

    def wake(self) -> None:
        """Something has changed: there may be something to deliver."""
        self._dispatcher.wake()

    def topics_changed(self) -> None:
        """Topics were created or deleted."""
        self._stale = True
        self.wake()

    async def release(self, topic_uid: str) -> None:
        """Returns once nothing is written any more to what it has settled in a topic that is gone."""
        async with self._following:
            for key, source in tuple(self.sources.items()):
                if source.partition.topic_uid == topic_uid:
                    del self.sources[key]
                    await self._part(source)

    def changed(self) -> None:
        """The settings are others."""
        for source in self.sources.values():
            source.update()
        self.wake()

    def end(self) -> None:
        """Ends the streams: the subscription was deleted."""
        error = SubscriptionNotFound(f"{self.entry.name} was deleted", metadata={"resource": self.entry.name})
        for consumer in self.consumers.values():
            consumer.end(error)

    def join(self, consumer: Consumer) -> None:
        """Begins to deliver to a consumer."""
        self.consumers[consumer.number] = consumer
        self.wake()

    def leave(self, consumer: Consumer, *, counted: bool) -> None:
        """Takes back what a consumer has. `counted`: its deliveries were in vain."""
        now = self._clock.monotonic()
        for source in self.sources.values():
            self.settling.carry_out(source, source.machine.leave(consumer.number, now, counted=counted))
        del self.consumers[consumer.number]
        self.wake()

    async def seek(self, position: StartPosition) -> None:
        """Moves it: what follows the position is not settled, and what comes before it is.

        Raises:
            InvalidField: an offset of a partition that it does not read, or what is no time.
            StoreUnavailable: the move is not durable.
        """
        check_position(position, "position")
        moved = list(self.sources.values())
        if position.HasField("offset"):
            source = self.sources.get((position.offset.topic, position.offset.partition))
            if source is None:
                rule = "must be a topic and a partition that the subscription reads"
                raise InvalidField([FieldViolation("position.offset", rule)])
            moved = [source]
        for source in moved:
            target = await offset_of(source.partition, position)
            async with source.burying:
                source.restart(target)
                noted = source.settlements.restart(dead_letters=self.dead_letters.next)
            self.wake()
            await noted

    def status(self) -> SubscriptionStatus:
        """Returns how far it has come."""
        lags = [
            PartitionLag(
                topic=source.partition.topic,
                partition=source.partition.number,
                settled_offset=max(source.machine.settled.floor, source.partition.first),
                next_offset=source.partition.end,
                lag=source.lag,
                outstanding=source.machine.outstanding,
                retrying=source.machine.retrying,
            )
            for _, source in sorted(self.sources.items())
        ]
        return SubscriptionStatus(
            partitions=lags,
            consumers=len(self.consumers),
            lag=sum(lag.lag for lag in lags),
            dead_letters=self.dead_letters.count,
        )

    async def _run(self) -> None:
        while True:
            await self._dispatcher.next_round()
            if self._stale:
                async with self._following:
                    await self._follow_topics()
            await self._dispatcher.round()

    async def _follow_topics(self) -> None:
        """Opens the partitions of the topics that it reads, and lets go of those of the others."""
        self._stale = False
        wanted: dict[tuple[str, int], TopicEntry] = {}
        namespace = names.namespace_of(self.entry.name)
        for topic in self._view.matching(namespace, self.entry.settings.patterns):
            for number in range(topic.settings.partitions):
                wanted[names.short(topic.name), number] = topic
        for key, source in tuple(self.sources.items()):
            if key not in wanted or wanted[key].uid != source.partition.topic_uid:
                del self.sources[key]
                await self._part(source)
        fresh: dict[tuple[str, int], tuple[Source, int]] = {}
        for key, topic in wanted.items():
            if key not in self.sources:
                with suppress(SiraError):  # it is gone again, or the store is: the next look tries again
                    fresh[key] = await self._open_source(topic, key[1])
        await self.settling.recover(fresh.values())
        self.sources.update((key, source) for key, (source, _) in fresh.items())

    async def _open_source(self, topic: TopicEntry, number: int) -> tuple[Source, int]:
        partition = (await self._partitions.get(topic, number)).partition
        source = Source(partition, self.entry.uid, self._settings, self._clock, self._rng)
        known = await source.open(self.entry.starts.get((topic.uid, number), 0), self.dead_letters.next)
        partition.listeners.append(self.wake)
        return source, known

    async def _part(self, source: Source) -> None:
        with suppress(ValueError):
            source.partition.listeners.remove(self.wake)
        await source.settlements.close()

    def _settings(self) -> SubscriptionSettings:
        return self.entry.settings

    def _paused(self) -> bool:
        return self.entry.message.paused

    def _consumer_name(self, number: int) -> str:
        consumer = self.consumers.get(number)
        return consumer.name if consumer is not None else ""
