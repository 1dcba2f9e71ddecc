"""A producer: sends the records of one topic in frames, through lost connections and kernel restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sira.bus.v1.record_pb2 import CloudEvent
from sira.bus.v1.topic_pb2 import Topic
from sira.bus.v1.topic_service_pb2 import GetTopicRequest

from sira_client.bus.ack import Ack
from sira_client.bus.attributes import extras
from sira_client.bus.batches import Batches
from sira_client.bus.compression import compression_value
from sira_client.bus.cutting import BatchLimits
from sira_client.bus.outbox import Outbox
from sira_client.bus.outgoing import RECORD_OVERHEAD
from sira_client.bus.producer_options import ProducerOptions
from sira_client.bus.room import Room
from sira_client.bus.sending import Sender
from sira_client.bus.sequences import Sequences
from sira_client.errors import SiraError, UnavailableError
from sira_client.first_of import drop
from sira_client.frames.checking import MAX_ID_LENGTH, MAX_KEY_BYTES
from sira_client.link import Link
from sira_client.settings import Settings

if TYPE_CHECKING:  # these are only in the stubs
    from sira.bus.v1.topic_service_pb2_grpc import TopicServiceAsyncStub

MAX_RECORD_BYTES = 1 << 20

_CLOSED = UnavailableError("the producer was closed before the record was acknowledged")


@dataclass(slots=True)
class _Open:
    """What a producer has while it is open."""

    room: Room
    outbox: Outbox
    batches: Batches
    sender: Sender
    max_record_bytes: int
    sending: asyncio.Task[None] = field(init=False)


class Producer:
    """Made by Bus.producer, and open in `async with`. Its end sends what is left and waits for the acks.

    Records of one partition are stored in the order of sending, each once, however often connection or kernel are
    lost on the way. Only a record that was refused (its future says why) is not there; those after it are.

    Args:
        link: to the kernel.
        topics: the kernel's RPCs about topics, with default deadlines and typed errors.
        settings: of the client.
        topic: resource name.
        options: how it sends.
    """

    def __init__(
        self, link: Link, topics: TopicServiceAsyncStub, settings: Settings, topic: str, options: ProducerOptions
    ) -> None:
        self._link = link
        self._topics = topics
        self._settings = settings
        self._topic = topic
        self._options = options
        self._opened: _Open | None = None
        self._closed = False

    @property
    def topic(self) -> str:
        """Resource name of the topic."""
        return self._topic

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._closed

    async def send(  # noqa: PLR0913 - each is a field of the record, of which a caller names the few it sets
        self,
        payload: bytes,
        *,
        key: bytes = b"",
        id: str = "",  # noqa: A002 - the name of the field
        headers: Mapping[str, str] | None = None,
        content_type: str = "",
        cloud_event: CloudEvent | None = None,
        event_time: datetime | None = None,
        ttl: float | None = None,
        deliver_at: datetime | None = None,
    ) -> Ack:
        """Sends a record, and returns when it is as durable as the ack says.

        Giving up waiting does not take the record back.

        Args:
            payload: what it carries, at most 1 MiB.
            key: records with the same key keep their order.
            id: if it is sent again within the topic's deduplication window, nothing is stored.
            headers: free pairs.
            content_type: media type of the payload.
            cloud_event: what makes it a CloudEvent.
            event_time: when that which it tells of happened. None for when it is published.
            ttl: seconds for which it is worth delivering.
            deliver_at: not to be delivered before.

        Raises:
            ValueError: the record breaks a rule.
            RuntimeError: the producer is not open.
            SiraError: the kernel refused it.
        """
        promise = await self.post(
            payload,
            key=key,
            id=id,
            headers=headers,
            content_type=content_type,
            cloud_event=cloud_event,
            event_time=event_time,
            ttl=ttl,
            deliver_at=deliver_at,
        )
        return await promise

    async def post(  # noqa: PLR0913 - as in send
        self,
        payload: bytes,
        *,
        key: bytes = b"",
        id: str = "",  # noqa: A002 - the name of the field
        headers: Mapping[str, str] | None = None,
        content_type: str = "",
        cloud_event: CloudEvent | None = None,
        event_time: datetime | None = None,
        ttl: float | None = None,
        deliver_at: datetime | None = None,
    ) -> asyncio.Future[Ack]:
        """Takes a record to send, and returns at once with the future of its ack; only a full buffer has to be waited
        for. See send.
        """
        opened = self._open
        extra = extras(headers, content_type, cloud_event, event_time, ttl, deliver_at)
        size = len(payload) + len(key)
        if extra is not None and extra.attributes is not None:
            size += extra.attributes.ByteSize()
        if size > opened.max_record_bytes or len(key) > MAX_KEY_BYTES or len(id) > MAX_ID_LENGTH:
            raise ValueError(
                f"a record must be at most {opened.max_record_bytes:,} bytes with key and attributes, its key "
                f"{MAX_KEY_BYTES:,} bytes, its id {MAX_ID_LENGTH} characters"
            )
        if not isinstance(payload, bytes) or not isinstance(key, bytes):
            raise ValueError("payload, key: must be bytes")
        size += len(id)
        if not opened.room.try_take(size + RECORD_OVERHEAD):
            await self._wait_for_room(opened, size + RECORD_OVERHEAD)
        promise = opened.batches.add(payload, key, id, extra, size)
        opened.sender.added()
        return promise

    async def send_many(
        self, payloads: Sequence[bytes], *, keys: Sequence[bytes] | None = None, ids: Sequence[str] | None = None
    ) -> list[Ack]:
        """Sends many records in frames of their own, and returns when all are durable: the fast way.

        Returns:
            An ack for each frame. Records without keys go frame by frame, `max_batch_records` each, in their order.

        Args:
            payloads: what they carry.
            keys, ids: one for each, empty for none; or None.

        Raises:
            ValueError: there is not one of each for each payload.
            RuntimeError: the producer is not open.
            SiraError: the kernel refused a frame. Others may be taken.
        """
        return await asyncio.gather(*await self.post_many(payloads, keys=keys, ids=ids))

    async def post_many(
        self, payloads: Sequence[bytes], *, keys: Sequence[bytes] | None = None, ids: Sequence[str] | None = None
    ) -> list[asyncio.Future[Ack]]:
        """Takes many records to send, and returns as soon as they are in the buffer, with a future for each frame.

        See send_many.
        """
        opened = self._open
        if any(column is not None and len(column) != len(payloads) for column in (keys, ids)):
            raise ValueError("keys, ids: must have one entry for each payload")
        promises: list[asyncio.Future[Ack]] = []
        for frame in opened.batches.split(payloads, keys, ids):
            if not opened.room.try_take(frame.size):
                await self._wait_for_room(opened, frame.size)
            opened.batches.put(frame)
            promises += frame.promises
        return promises

    async def flush(self) -> None:
        """Sends what was posted before now without delay, and waits until all of it is answered, well or not."""
        opened = self._open
        opened.batches.seal_all()
        if (last := opened.outbox.last) is not None:
            await last.finished()

    async def close(self) -> None:
        """Sends what is left, waits for the answers, and ends. What is not answered in time fails.

        Does nothing more if it has ended.
        """
        opened, self._opened, self._closed = self._opened, None, True
        if opened is None:
            return
        try:
            opened.batches.seal_all()
            if (last := opened.outbox.last) is not None:
                await asyncio.wait([last.finished()], timeout=self._options.timeout)
        finally:
            await drop(opened.sending)
            opened.outbox.fail_all(_CLOSED)

    async def _wait_for_room(self, opened: _Open, size: int) -> None:
        await opened.room.take(size)
        if self._opened is not opened:
            raise _CLOSED

    async def _get_topic(self) -> Topic:
        loop, backoff = asyncio.get_running_loop(), self._settings.backoff()
        deadline = loop.time() + self._options.timeout
        while True:
            try:
                return (await self._topics.GetTopic(GetTopicRequest(name=self._topic))).topic
            except SiraError as error:
                if not self._link.may_pass(error) or loop.time() >= deadline:
                    raise
                await self._settings.clock.sleep(backoff.next(error.retry_after))

    @property
    def _open(self) -> _Open:
        if self._opened is None:
            raise RuntimeError("the producer is open only in `async with`")
        return self._opened

    async def __aenter__(self) -> Self:
        """Reads how many partitions the topic has, for which it tries for `timeout` seconds.

        Raises:
            NotFoundError: there is no such topic.
            SiraError: the kernel refused, or is not there.
        """
        if self._closed:
            raise RuntimeError("a producer is opened once")
        topic = await self._get_topic()
        options, settings = self._options, self._settings
        room, sequences = Room(options.buffer_bytes), Sequences(settings.random)
        outbox = Outbox(options.max_in_flight, sequences, room)
        limits = BatchLimits(options.max_batch_records, options.max_batch_bytes)
        batches = Batches(max(1, topic.partitions), limits, outbox.put, settings.random)
        compression = compression_value(options.compression)
        sender = Sender(
            self._link, settings, self._topic, batches, outbox, compression=compression, linger=options.linger
        )
        self._opened = _Open(room, outbox, batches, sender, topic.limits.max_record_bytes or MAX_RECORD_BYTES)
        self._opened.sending = asyncio.create_task(sender.run())
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """See close."""
        await self.close()
