"""A subscription at work: the partitions that it reads, its consumers, and how far it has come."""

from __future__ import annotations

import asyncio
import logging
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
from sira_grpc.errors import FieldViolation, InvalidField, SiraError

LOOK_AGAIN_SECONDS = 1.0
"""After a partition could not be opened."""

log = logging.getLogger(__name__)


class ActiveSubscription:
    """Delivers to the consumers of one subscription. `open` begins, `close` ends.

    Args:
        entry: what it is.
        view, partitions: what it reads.
        dead_letters: where it puts what it gives up.
        clock, rng: see Source.
        metrics: counts.
        turns: partitions that are opened at once, of all subscriptions.

    Attributes:
        ended: what its streams ended with, once it is deleted, or another member's.
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
        turns: asyncio.Semaphore,
    ) -> None:
        self.entry = entry
        self.ended: SiraError | None = None
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
        self._turns = turns
        self._fence = False
        self._stale = True
        self._following = asyncio.Lock()
        self._background = Background()

    async def open(self, failed: Callable[[], object], *, fence: bool = False) -> None:
        """Takes up where it was left, and begins to deliver.

        Args:
            failed: called if that ends by itself.
            fence: another member may have had it until now. What that one settles before it is fenced is known here
                before anything is delivered; what it would settle later, it cannot.

        Raises:
            NotOwner, StoreUnavailable: it cannot be opened now.
        """
        self._fence = fence
        await self.dead_letters.open(fence=fence)
        async with self._following:
            await self._follow_topics()
        task = self._background.own(self._run(), f"bus subscription {self.entry.name}")
        task.add_done_callback(lambda done: None if done.cancelled() else failed())

    async def close(self, error: SiraError | None = None) -> None:
        """Ends it: what was settled is durable when this returns. What comes later fails with an error, if given."""
        await self._background.cancel()
        await self.settling.close()
        await asyncio.gather(*(self._part(source, error) for source in self.sources.values()))
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

    def end(self, error: SiraError) -> None:
        """Ends the streams: the subscription was deleted, or is another member's."""
        self.ended = error
        for consumer in self.consumers.values():
            consumer.end(error)

    def join(self, consumer: Consumer) -> None:
        """Begins to deliver to a consumer."""
        self.consumers[consumer.number] = consumer
        if self.ended is not None:
            consumer.end(self.ended)
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
                    await self._look_for_topics()
            await self._dispatcher.round()

    async def _look_for_topics(self) -> None:
        try:
            await self._follow_topics()
        except SiraError as error:
            log.warning("%s: %s", self.entry.name, error)
            self._look_again()

    def _look_again(self) -> None:
        asyncio.get_running_loop().call_later(LOOK_AGAIN_SECONDS, self.topics_changed)

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
        missing = [key for key in wanted if key not in self.sources]
        outcomes = await asyncio.gather(
            *(self._open_source(wanted[key], key[1]) for key in missing), return_exceptions=True
        )
        fresh: dict[tuple[str, int], tuple[Source, int]] = {}
        for key, outcome in zip(missing, outcomes, strict=True):
            if isinstance(outcome, SiraError):
                self._look_again()  # it is gone again, or the store is
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                fresh[key] = outcome
        await self.settling.recover(fresh.values(), self._turns, fence=self._fence)
        for key, (source, _) in fresh.items():
            self.sources[key] = source
            source.partition.listeners.append(self.wake)
        self.wake()

    async def _open_source(self, topic: TopicEntry, number: int) -> tuple[Source, int]:
        partition = (await self._partitions.get(topic, number, patient=False)).partition
        source = Source(partition, self.entry.uid, self._settings, self._clock, self._rng)
        async with self._turns:
            known = await source.open(self.entry.starts.get((topic.uid, number), 0), self.dead_letters.next)
        return source, known

    async def _part(self, source: Source, error: SiraError | None = None) -> None:
        with suppress(ValueError):
            source.partition.listeners.remove(self.wake)
        await source.settlements.close(error)

    def _settings(self) -> SubscriptionSettings:
        return self.entry.settings

    def _paused(self) -> bool:
        return self.entry.message.paused

    def _consumer_name(self, number: int) -> str:
        consumer = self.consumers.get(number)
        return consumer.name if consumer is not None else ""
