"""The reading of topics without a subscription: nothing is remembered of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sira.bus.v1.subscription_pb2 import StartPosition
from sira.bus.v1.subscription_service_pb2 import Opened, SubscribeResponse
from sira.bus.v1.subscription_service_pb2 import Tail as TailRequest

from sira_grpc.bus import names
from sira_grpc.bus.consumer import Consumer
from sira_grpc.bus.metrics import BusMetrics
from sira_grpc.bus.names import Pattern
from sira_grpc.bus.parcel import Parcel
from sira_grpc.bus.partition import Partition
from sira_grpc.bus.partitions import Partitions
from sira_grpc.bus.positions import check_position, offset_of
from sira_grpc.bus.stored import Held
from sira_grpc.bus.view import BusView, TopicEntry
from sira_grpc.clock import Clock
from sira_grpc.errors import SiraError

EARLIEST = StartPosition(earliest=StartPosition.Earliest())


class _Place:
    """Where a tail is in a partition."""

    __slots__ = ("offset", "partition")

    def __init__(self, partition: Partition, offset: int) -> None:
        self.partition = partition
        self.offset = offset


class Tail:
    """One stream that reads topics. `open` first; `run` until it is cancelled; then `close`.

    Args:
        request: what it reads.
        consumer: the one at the other end.
        view, partitions: where it reads.
        clock: for what has expired.
        metrics: counts.
    """

    def __init__(
        self,
        request: TailRequest,
        consumer: Consumer,
        view: BusView,
        partitions: Partitions,
        clock: Clock,
        metrics: BusMetrics,
    ) -> None:
        self._request = request
        self._patterns = tuple(map(Pattern, request.topics))
        self._consumer = consumer
        self._view = view
        self._partitions = partitions
        self._clock = clock
        self._metrics = metrics
        self._places: dict[tuple[str, int], _Place] = {}
        self._stale = False
        self._more = asyncio.Event()

    async def open(self) -> None:
        """Finds where to begin.

        Raises:
            InvalidField: it is to begin at what is no time.
        """
        check_position(self._request.start, "open.tail.start")
        start = self._request.start if self._request.HasField("start") else StartPosition()
        resume = {(place.topic, place.partition): place for place in self._request.resume}
        for topic in self._topics():
            short = names.short(topic.name)
            for number in range(topic.settings.partitions):
                place = resume.get((short, number))
                position = start if place is None else StartPosition(offset=place)
                await self._begin(topic, number, position)
        self._consumer.send(SubscribeResponse(opened=Opened()).SerializeToString())

    @property
    def parent(self) -> str:
        """The namespace that it reads."""
        return self._request.parent

    def end(self, error: SiraError) -> None:
        """Ends the stream with an error."""
        self._consumer.end(error)

    def wake(self) -> None:
        """There may be something to deliver."""
        self._more.set()

    def topics_changed(self) -> None:
        """Topics were created or deleted."""
        self._stale = True
        self._more.set()

    async def run(self) -> None:
        """Delivers what there is, whenever the consumer can take it, for ever."""
        while True:
            if self._stale:
                await self._follow_topics()
            if not await self._round():
                await self._more.wait()
            self._more.clear()

    def close(self) -> None:
        """Lets go of everything."""
        for place in self._places.values():
            self._leave(place)
        self._places.clear()

    def _topics(self) -> list[TopicEntry]:
        return self._view.matching(self._request.parent, self._patterns)

    async def _begin(self, topic: TopicEntry, number: int, position: StartPosition) -> None:
        partition = (await self._partitions.get(topic, number)).partition
        offset = await offset_of(partition, position)
        self._places[topic.uid, number] = _Place(partition, offset)
        partition.listeners.append(self.wake)

    async def _follow_topics(self) -> None:
        """Begins with topics that are new, at their beginning, and forgets those that are gone."""
        self._stale = False
        topics = {topic.uid: topic for topic in self._topics()}
        for key, place in tuple(self._places.items()):
            if key[0] not in topics:
                del self._places[key]
                self._leave(place)
        for topic in topics.values():
            for number in range(topic.settings.partitions):
                if (topic.uid, number) not in self._places:
                    await self._begin(topic, number, EARLIEST)

    def _leave(self, place: _Place) -> None:
        if self.wake in place.partition.listeners:
            place.partition.listeners.remove(self.wake)

    async def _round(self) -> bool:
        """Delivers some frames of each partition; returns whether there may be more."""
        more = False
        for place in tuple(self._places.values()):
            if not self._consumer.ready:
                return False
            if place.offset < place.partition.end:
                self._deliver(place, await place.partition.read(place.offset))
                more = True
        await asyncio.sleep(0)
        return more

    def _deliver(self, place: _Place, frames: Sequence[Held]) -> None:
        for held in frames:
            if not self._consumer.ready:
                return
            first = max(held.base, place.offset)
            end = held.end if held.offsets else min(held.end, first + self._consumer.records)
            place.offset = end
            if held.broken or held.only_for:
                continue
            left_out = held.expired(self._clock.time_ns())
            parcel = Parcel(held, 0, [(first, end)])
            if (left_out or held.offsets) and not parcel.places(left_out):
                continue
            message, records, size = parcel.message(place.partition, left_out)
            self._consumer.deliver(message, records, size)
            self._metrics.delivered(parcel, records, size, self._clock.time_ns())
