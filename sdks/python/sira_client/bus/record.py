"""A record as a consumer has it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Self

from sira.bus.v1.record_pb2 import Attributes, CloudEvent, TraceContext

from sira_client.bus.delivered import DeliveredFrame
from sira_client.bus.times import duration, from_ns


class ReadRecord:
    """A record that was read by a tail: there is nothing to settle."""

    __slots__ = ("_frame", "_index", "_position")

    def __init__(self, frame: DeliveredFrame, position: int) -> None:
        self._frame = frame
        self._position = position
        self._index = frame.index(position)

    @property
    def payload(self) -> bytes:
        """What it carries.

        Raises:
            ValueError: it cannot be decompressed.
        """
        return self._frame.reader.payload(self._index)

    @property
    def key(self) -> bytes:
        """Records with the same key keep their order. Empty for none."""
        return self._frame.reader.key(self._index)

    @property
    def id(self) -> str:
        """What its publisher named it. Empty for nothing."""
        return self._frame.reader.id(self._index)

    @property
    def topic(self) -> str:
        """Name of its topic, without the namespace."""
        return self._frame.topic

    @property
    def partition(self) -> int:
        """Number of its partition."""
        return self._frame.partition

    @property
    def offset(self) -> int:
        """Its offset in the partition."""
        return self._frame.offset(self._position)

    @property
    def attempt(self) -> int:
        """Which delivery of it this is, from 1. 0 for a tail."""
        return self._frame.attempt

    @property
    def publish_time(self) -> datetime:
        """When it was published."""
        return from_ns(self._frame.publish_time_ns)

    @property
    def event_time(self) -> datetime:
        """When that which it tells of happened."""
        return from_ns(self._frame.reader.event_time_ns(self._index) or self._frame.publish_time_ns)

    @property
    def attributes(self) -> Attributes:
        """All that it says of itself. Not to be changed: records may share it."""
        return self._frame.reader.attributes(self._index)

    @property
    def headers(self) -> Mapping[str, str]:
        """Its free pairs."""
        return self.attributes.headers

    @property
    def content_type(self) -> str:
        """Media type of the payload. Empty for unknown."""
        return self.attributes.content_type

    @property
    def cloud_event(self) -> CloudEvent | None:
        """What makes it a CloudEvent, besides its id, time and content type; None if it is none."""
        attributes = self.attributes
        return attributes.cloud_event if attributes.HasField("cloud_event") else None

    @property
    def trace_context(self) -> TraceContext | None:
        """The trace that it was published in; None if it was in none."""
        attributes = self.attributes
        return attributes.trace_context if attributes.HasField("trace_context") else None

    def __repr__(self) -> str:
        """Class, topic, partition and offset."""
        return f"<{type(self).__name__} {self.topic}/{self.partition}@{self.offset}>"


class Record(ReadRecord):
    """A record that was delivered to a consumer, which says what has become of it, once.

    `async with record` acks it at the end of the block. An exception in the block gives it back instead, with the
    exception as the detail, so that it is delivered again; the exception goes on. A block that is cancelled says
    nothing: the record is delivered again when its time is over, or when the consumer ends.
    """

    __slots__ = ("_sync",)

    def __init__(self, frame: DeliveredFrame, position: int, sync: bool) -> None:
        self._frame = frame
        self._position = position
        self._index = frame.index(position)
        self._sync = sync

    async def ack(self) -> bool:
        """It is done. Returns when that is durable.

        Returns:
            Whether it counted. If not, the record was not with this consumer any more, or the connection was lost
            before the kernel confirmed: it may be delivered again.

        Raises:
            RuntimeError: it is settled already.
        """
        frame = self._frame
        if not frame.claim(self._position):
            return False
        return await frame.ack(self._position).counted(self.topic, self.partition, self.offset)

    async def nak(self, delay: float | None = None, detail: str = "") -> bool:
        """It is to be delivered again.

        Args:
            delay: seconds from now; None for what the subscription's retry policy says.
            detail: why, for people: a dead letter shows it. Cut to 1,024 characters.

        Returns: see ack.

        Raises:
            ValueError: the delay is below 0.
            RuntimeError: it is settled already.
        """
        frame = self._frame
        after = None if delay is None else duration("delay", delay)
        if not frame.claim(self._position):
            return False
        round_ = frame.nak([self._position], after, detail)
        return await round_.counted(self.topic, self.partition, self.offset)

    async def terminate(self, detail: str = "") -> bool:
        """It cannot be processed: it becomes a dead letter.

        Args:
            detail: why, for people: the dead letter shows it. Cut to 1,024 characters.

        Returns: see ack.

        Raises:
            RuntimeError: it is settled already.
        """
        frame = self._frame
        if not frame.claim(self._position):
            return False
        round_ = frame.terminate([self._position], detail)
        return await round_.counted(self.topic, self.partition, self.offset)

    async def extend(self, seconds: float) -> bool:
        """The consumer needs so many seconds from now. What is being processed is extended by itself too.

        Returns: see ack.

        Raises:
            ValueError: it is below 0.
        """
        frame = self._frame
        timeout = duration("seconds", seconds)
        if frame.lost or not frame.is_open(self._position):
            return False
        round_ = frame.extend([self._position], timeout)
        return await round_.counted(self.topic, self.partition, self.offset)

    async def __aenter__(self) -> Self:
        """See the class."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """See the class. What was settled in the block stays as it is."""
        frame, position = self._frame, self._position
        if not frame.unsaid(position):
            return
        if exc_val is None:
            if frame.claim(position):
                round_ = frame.ack(position)
                if self._sync:
                    await round_.counted(frame.topic, frame.partition, frame.offset(position))
        elif not isinstance(exc_val, Exception):
            frame.abandon(position)
        elif frame.claim(position):
            frame.nak([position], None, f"{type(exc_val).__name__}: {exc_val}")
