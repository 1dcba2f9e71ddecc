"""The consumers of the bus in memory: what is with whom, and what has become of it."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from sira.bus.v1.subscription_pb2 import Subscription, SubscriptionMode
from sira.bus.v1.subscription_service_pb2 import (
    Delivery,
    OffsetRange,
    Opened,
    OpenSubscription,
    Settled,
    Settlement,
    StaleRange,
    SubscribeRequest,
    SubscribeResponse,
)
from sira.bus.v1.topic_pb2 import Durability
from sira_client.frames import checksum

from tests.unit.client.bus.partitions import Partition, StoredFrame

if TYPE_CHECKING:
    from tests.unit.client.bus.bus_double import BusDouble

Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""


class KnownSubscription:
    """What a subscription knows of its records. One that is nak'd waits until `due` is called, if a delay was given."""

    def __init__(self, kernel: BusDouble, subscription: Subscription) -> None:
        self.kernel = kernel
        self.subscription = subscription
        self.acked: set[Place] = set()
        self.terminated: dict[Place, str] = {}
        self.details: list[str] = []
        self.attempts: dict[Place, int] = {}
        self.outstanding: dict[Place, ConsumerStream] = {}
        self.waiting: set[Place] = set()
        self.extended: list[Place] = []

    @property
    def ordered(self) -> bool:
        return self.subscription.mode == SubscriptionMode.SUBSCRIPTION_MODE_ORDERED

    def lose(self, offset: int) -> None:
        """Takes a record away from whoever has it, for good: another one has acknowledged it."""
        del self.outstanding["orders", 0, offset]
        self.acked.add(("orders", 0, offset))

    async def due(self) -> None:
        self.waiting.clear()
        await self.kernel.notify()


class ConsumerStreams:
    """The streams, and what they share. `damage` is how many more deliveries have a bit flipped; `settling`, while it
    is not set, holds the answers to settles back."""

    def __init__(self, kernel: BusDouble) -> None:
        self.kernel = kernel
        self.known: dict[str, KnownSubscription] = {}
        self.streams: list[ConsumerStream] = []
        self.damage = 0
        self.settling = asyncio.Event()
        self.settling.set()

    def add(self, subscription: Subscription) -> KnownSubscription:
        added = self.known[subscription.name] = KnownSubscription(self.kernel, subscription)
        return added

    def open(self, opening: OpenSubscription) -> ConsumerStream:
        stream = ConsumerStream(self, opening)
        self.streams.append(stream)
        return stream

    def lose(self) -> None:
        for stream in self.streams:
            stream.end()


class ConsumerStream:
    """One stream: its credit, what it was asked, and what it is to say.

    While it is `early`, the next answer to a settle comes after whatever can be delivered.
    """

    def __init__(self, shared: ConsumerStreams, opening: OpenSubscription) -> None:
        self.shared = shared
        self.opening = opening
        self.tail = opening.tail if opening.WhichOneof("source") == "tail" else None
        self.own = None if self.tail else shared.known[opening.subscription]
        self.records = self.bytes = 0
        self.requests: list[SubscribeRequest] = []
        self.half_closed = self.ended = self.early = False
        self.news = asyncio.Event()
        self._settles: deque[SubscribeRequest] = deque()
        self._read = {place: self._start(*place) for place in self._partitions()} if self.tail else {}

    async def read(self, requests: AsyncIterator[SubscribeRequest]) -> None:
        async for request in requests:
            self.requests.append(request)
            match request.WhichOneof("action"):
                case "credit":
                    self.records += request.credit.records
                    self.bytes += request.credit.bytes
                case "settle":
                    self._settles.append(request)
            self.news.set()
            await self.shared.kernel.notify()
        self.half_closed = True
        self.news.set()
        await self.shared.kernel.notify()

    async def responses(self, drop: asyncio.Event) -> AsyncIterator[SubscribeResponse]:
        opened = Opened()
        if self.own:
            opened.ack_timeout.CopyFrom(self.own.subscription.ack_timeout)
            opened.mode = self.own.subscription.mode
        yield SubscribeResponse(opened=opened)
        while not drop.is_set():
            self.news.clear()
            while self._settles:
                settled = self._carry_out(self._settles.popleft())
                await self.shared.kernel.notify()
                await self.shared.settling.wait()
                if self.early:
                    self.early = False
                    for delivery in self._deliveries():
                        yield SubscribeResponse(delivery=delivery)
                yield SubscribeResponse(settled=settled)
            if self.half_closed:
                return
            for delivery in self._deliveries():
                yield SubscribeResponse(delivery=delivery)
            await self._wait(drop)

    async def _wait(self, drop: asyncio.Event) -> None:
        """Waits for a request, for news of the kernel, or for the stream to be dropped."""
        kernel = self.shared.kernel
        async with kernel._news:
            await kernel._news.wait_for(lambda: self.news.is_set() or drop.is_set() or self._more())

    def _more(self) -> bool:
        return any(True for _ in self._candidates())

    def end(self) -> None:
        """Gives everything back."""
        self.ended = True
        if self.own:
            for place in [place for place, holder in self.own.outstanding.items() if holder is self]:
                del self.own.outstanding[place]

    def _partitions(self) -> dict[tuple[str, int], Partition]:
        patterns = self.tail.topics if self.tail else self.own.subscription.topics if self.own else []
        return {
            (name.rpartition("/")[2], number): partition
            for name, partitions in self.shared.kernel.partitions.items()
            if any(_matches(pattern, name.rpartition("/")[2]) for pattern in patterns)
            for number, partition in enumerate(partitions)
        }

    def _frames(self) -> Iterator[tuple[str, int, StoredFrame]]:
        for (topic, number), partition in self._partitions().items():
            for frame in list(partition.frames):
                yield topic, number, frame

    def _candidates(self) -> Iterator[tuple[str, int, StoredFrame, list[int]]]:
        """What may be delivered now, as far as the credit goes."""
        blocked: set[tuple[str, int, bytes]] = set()
        records = self.records
        if self.own and self.own.subscription.paused:
            return
        for topic, number, frame in self._frames():
            if records <= 0 or self.bytes <= 0:
                return
            offsets: list[int] = []
            for offset in range(frame.base, frame.end):
                if len(offsets) < records and self._may_have((topic, number, offset), frame.key(offset), blocked):
                    offsets.append(offset)
            if offsets:
                records -= len(offsets)
                yield topic, number, frame, offsets

    def _may_have(self, place: Place, key: bytes, blocked: set[tuple[str, int, bytes]]) -> bool:
        topic, partition, offset = place
        if self.own is None:
            return offset >= self._read.get((topic, partition), 0)
        if place in self.own.acked or place in self.own.terminated:
            return False
        held = self.own.outstanding.get(place)
        if self.own.ordered and key:
            if (topic, partition, key) in blocked:
                return False
            if place in self.own.waiting or (held is not None and held is not self):
                blocked.add((topic, partition, key))
                return False
        return held is None and place not in self.own.waiting

    def _start(self, topic: str, partition: int) -> int:
        assert self.tail is not None
        frames = self._partitions()[topic, partition].frames
        for place in self.tail.resume:
            if (place.topic, place.partition) == (topic, partition):
                return place.offset
        match self.tail.start.WhichOneof("position"):
            case "earliest":
                return 0
            case "time":
                at = self.tail.start.time.ToNanoseconds()
                return next((frame.base for frame in frames if frame.publish_ns >= at), frames[-1].end if frames else 0)
        return frames[-1].end if frames else 0

    def _deliveries(self) -> Iterator[Delivery]:
        for topic, number, frame, offsets in self._candidates():
            attempts = {offset: self._next_attempt((topic, number, offset)) for offset in offsets}
            for attempt, group in groupby(offsets, key=attempts.__getitem__):
                chosen = list(group)
                data = frame.data
                self.records -= len(chosen)
                self.bytes -= len(data)
                delivery = Delivery(
                    topic=topic, partition=number, base_offset=frame.base, attempt=attempt, checksum=checksum(data)
                )
                delivery.publish_time.FromNanoseconds(frame.publish_ns)
                if len(chosen) < frame.reader.count:
                    delivery.ranges.extend(OffsetRange(first=offset, end=offset + 1) for offset in chosen)
                if self.shared.damage:
                    self.shared.damage -= 1
                    data = bytes([data[0] ^ 1]) + data[1:]
                delivery.frame = data
                yield delivery

    def _next_attempt(self, place: Place) -> int:
        if self.own is None:
            self._read[place[:2]] = place[2] + 1
            return 0
        self.own.outstanding[place] = self
        self.own.attempts[place] = self.own.attempts.get(place, 0) + 1
        return self.own.attempts[place]

    def _carry_out(self, request: SubscribeRequest) -> Settled:
        settled = Settled(durability=Durability.DURABILITY_DISK)
        for settlement in request.settle.settlements:
            for one in settlement.ranges:
                for offset in range(one.first, one.end):
                    if not self._settle(settlement, (settlement.topic, settlement.partition, offset)):
                        stale = OffsetRange(first=offset, end=offset + 1)
                        settled.stale.append(
                            StaleRange(topic=settlement.topic, partition=settlement.partition, range=stale)
                        )
        return settled

    def _settle(self, settlement: Settlement, place: Place) -> bool:
        own = self.own
        if own is None or own.outstanding.get(place) is not self:
            return False
        match settlement.WhichOneof("outcome"):
            case "ack":
                own.acked.add(place)
            case "terminate":
                own.terminated[place] = settlement.terminate.detail
            case "extend":
                own.extended.append(place)
                return True
            case "nak":
                own.details.append(settlement.nak.detail)
                if settlement.nak.HasField("delay") and settlement.nak.delay.ToNanoseconds():
                    own.waiting.add(place)
                if own.ordered:
                    self._take_back_after(place)
        del own.outstanding[place]
        return True

    def _take_back_after(self, place: Place) -> None:
        assert self.own is not None
        topic, partition, offset = place
        keys = {
            other: frame.key(other)
            for name, number, frame in self._frames()
            if (name, number) == (topic, partition)
            for other in range(frame.base, frame.end)
        }
        for other in [o for t, p, o in self.own.outstanding if (t, p) == (topic, partition) and o > offset]:
            if keys[other] and keys[other] == keys[offset]:
                del self.own.outstanding[topic, partition, other]


def _matches(pattern: str, topic: str) -> bool:
    expression = re.escape(pattern).replace(r"\*", "[^.]+").replace(">", ".+")
    return re.fullmatch(expression, topic) is not None
