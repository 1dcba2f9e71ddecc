"""A tail: reads topics without a subscription, and goes on where it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from itertools import islice

from sira.bus.v1.subscription_pb2 import PartitionOffset, StartPosition
from sira.bus.v1.subscription_service_pb2 import OpenSubscription, Tail

from sira_client.bus.consumer import Consumer
from sira_client.bus.delivered import DeliveredFrame
from sira_client.bus.feed import Feed
from sira_client.bus.names import short_topic
from sira_client.bus.positions import Position, start_position
from sira_client.bus.record import ReadRecord
from sira_client.clock import Clock

PAUSE_RECORDS = 256
"""Records that are handed out before whatever else the event loop has to do gets its turn."""
MAX_RESUMED = 4096
"""Partitions that the kernel is told of at most: those that were heard of last."""

TailStart = Position | Mapping[tuple[str, int], int]
"""A position; or the offset to begin at for each topic and partition, and the latest for all others."""


class TailReader(Consumer[ReadRecord]):
    """Yields records as they are published, those of a partition in order. See Consumer.

    A stream that is lost is opened again after the last record of each partition that was handed out. Partitions of
    which there was none yet begin, for a tail that began with the latest, with what was published since this clock
    said that it began.

    Args:
        feed: begins to deliver frames, given what makes the first request of each stream.
        clock: of the client.
        parent: resource name of the namespace.
        topics: patterns.
        start: where to begin.
        consumer: name, for people.

    Raises:
        ValueError: the start is no position.
    """

    def __init__(
        self,
        feed: Callable[[Callable[[], OpenSubscription]], Feed],
        clock: Clock,
        parent: str,
        topics: Sequence[str],
        start: TailStart,
        consumer: str,
    ) -> None:
        super().__init__(lambda: feed(self._opening))
        self._clock = clock
        self._parent = parent
        self._topics = topics
        self._consumer = consumer
        self._resume: dict[tuple[str, int], int] = {}
        if isinstance(start, Mapping):
            self._resume = {(short_topic(topic), partition): offset for (topic, partition), offset in start.items()}
            start = "latest"
        self._start = start_position(start)

    def _opening(self) -> OpenSubscription:
        recent = islice(reversed(self._resume.items()), MAX_RESUMED)
        tail = Tail(
            parent=self._parent,
            topics=self._topics,
            start=self._start,
            resume=[PartitionOffset(topic=t, partition=p, offset=offset) for (t, p), offset in recent],
        )
        if self._start.WhichOneof("position") == "latest":
            self._start = StartPosition()
            self._start.time.FromNanoseconds(self._clock.time_ns())
        return OpenSubscription(tail=tail, consumer=self._consumer)

    async def _items(self, feed: Feed) -> AsyncGenerator[ReadRecord, None]:
        since_pause = 0
        try:
            while (found := await feed.next()) is not None:
                frame, positions = found
                partition = frame.topic, frame.partition
                self._resume.pop(partition, None)
                for position in positions:
                    if frame.lost:
                        break  # the next stream begins here
                    self._resume[partition] = frame.offset(position) + 1
                    if self._to_hand_out(frame, position):
                        since_pause += 1
                        yield ReadRecord(frame, position)
                frame.release()
                frame.consume(len(positions), last=True)
                if since_pause >= PAUSE_RECORDS:
                    since_pause = 0
                    await asyncio.sleep(0)
        finally:
            await self._iteration_ended()

    def _to_hand_out(self, frame: DeliveredFrame, position: int) -> bool:
        return not frame.perishable or not frame.expired(position, self._clock.time_ns())
