"""The bus, as a program sees it: publish records, consume them, and look after topics and subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

import grpc
from sira.bus.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from sira.bus.v1.publish_service_pb2 import PublishRequest
from sira.bus.v1.publish_service_pb2_grpc import PublishServiceStub
from sira.bus.v1.record_pb2 import CloudEvent, Record
from sira.bus.v1.subscription_service_pb2 import OpenSubscription
from sira.bus.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from sira.bus.v1.topic_service_pb2_grpc import TopicServiceStub

from sira_client.bus.ack import Ack
from sira_client.bus.attributes import extras
from sira_client.bus.compression import Compression
from sira_client.bus.consumer import ConsumerOptions
from sira_client.bus.consuming import BatchConsumer, RecordConsumer
from sira_client.bus.dead_letters import DeadLetters
from sira_client.bus.durability import durability_name
from sira_client.bus.feed import Feed
from sira_client.bus.names import parent_name, subscription_name, topic_name
from sira_client.bus.producer import Producer
from sira_client.bus.producer_options import ProducerOptions
from sira_client.bus.subscriptions import Subscriptions
from sira_client.bus.tail import TailReader, TailStart
from sira_client.bus.topics import Topics
from sira_client.link import Link
from sira_client.settings import Settings

T = TypeVar("T", Producer, RecordConsumer, BatchConsumer, TailReader)


class Owner(Protocol):
    """Keeps what has to be closed with the client."""

    def __call__(self, opened: T) -> T:
        """Takes it, and returns it."""


class Bus:
    """Made by Client.bus.

    Attributes:
        topics: creates, reads, changes and deletes topics.
        subscriptions: the same, and pauses, resumes and moves them.
        dead_letters: looks at what subscriptions gave up, and brings it back.

    Args:
        link: to the kernel.
        channel: for unary calls to it, with default deadlines and typed errors.
        settings: of the client.
        own: keeps what has to be closed with the client.
        namespace: of names that are not resource names.

    Raises:
        ValueError: the namespace is malformed.
    """

    def __init__(self, link: Link, channel: grpc.aio.Channel, settings: Settings, own: Owner, namespace: str) -> None:
        self._link = link
        self._settings = settings
        self._own = own
        self._namespace = namespace
        self._parent = parent_name(namespace)
        self._topics = TopicServiceStub(channel)
        self._publish = PublishServiceStub(channel)
        self.topics = Topics(link, self._topics, namespace)
        self.subscriptions = Subscriptions(SubscriptionServiceStub(channel), namespace)
        self.dead_letters = DeadLetters(DeadLetterServiceStub(channel), namespace)

    def producer(
        self,
        topic: str,
        *,
        linger: float = 0.002,
        max_batch_records: int = 1000,
        max_batch_bytes: int = 256 << 10,
        compression: Compression = None,
        max_in_flight: int = 32,
        buffer_bytes: int = 32 << 20,
        timeout: float = 30.0,
    ) -> Producer:
        """A producer of records, open in `async with`.

        Args:
            topic: short name or resource name.
            linger: seconds that a record waits for others while earlier ones are under way; else it goes at once.
            max_batch_records: in a frame, at most 10,000.
            max_batch_bytes: in a frame, at most 2 MiB.
            compression: of payloads, where it gains anything: "zstd", "lz4" or None.
            max_in_flight: frames that are sent before the first is acknowledged.
            buffer_bytes: what may wait for its acks; whoever sends beyond that waits.
            timeout: how long, in seconds, to try to open, and to wait for acks at the end.

        Raises:
            ValueError: the name is malformed, or a number is out of its range.
        """
        options = ProducerOptions(
            linger=linger,
            max_batch_records=max_batch_records,
            max_batch_bytes=max_batch_bytes,
            compression=compression,
            max_in_flight=max_in_flight,
            buffer_bytes=buffer_bytes,
            timeout=timeout,
        )
        name = topic_name(topic, self._namespace)
        return self._own(Producer(self._link, self._topics, self._settings, name, options))

    async def publish(  # noqa: PLR0913 - each is a field of the record, of which a caller names the few it sets
        self,
        topic: str,
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
        """Publishes one record, and returns when it is as durable as the ack says. A producer is for more than a few.

        If it fails, the record may have been published all the same. With an id it can be published once more without
        being there twice.

        Args:
            topic: short name or resource name.
            payload, key, id, headers, content_type, cloud_event, event_time, ttl, deliver_at: see Producer.send.

        Raises:
            ValueError: the record breaks a rule.
            SiraError: the kernel refused, or is not there.
        """
        record = Record(payload=payload, key=key, id=id)
        if (extra := extras(headers, content_type, cloud_event, event_time, ttl, deliver_at)) is not None:
            extra.write_to(record)
        request = PublishRequest(topic=topic_name(topic, self._namespace), records=[record])
        response = await self._publish.Publish(request)
        published = response.records[0]
        return Ack(published.partition, published.offset, durability_name(response.durability), published.duplicate)

    def subscribe(
        self,
        subscription: str,
        *,
        consumer: str = "",
        concurrency: int | None = None,
        prefetch_records: int = 1000,
        prefetch_bytes: int = 8 << 20,
        sync_acks: bool = False,
        lease: float = 3600.0,
    ) -> RecordConsumer:
        """Yields the records of a subscription, for ever, through lost connections and restarts.

        Records that are held are extended by themselves. Those that are processed at the same time are those that the
        program starts tasks for; `concurrency` bounds them.

        Args:
            subscription: id or resource name.
            consumer: name of this consumer, for people. Empty for its identity or address.
            concurrency: records that may be handed out and not settled; the iteration waits. None for any number.
            prefetch_records: records that may be delivered in advance.
            prefetch_bytes: of their frames.
            sync_acks: leaving the block of a record waits until its ack is durable.
            lease: how long, in seconds, records are extended at most: then they are delivered to others.

        Raises:
            ValueError: the name is malformed, or a number is out of its range.
            SubscriptionNotFoundError: from the iteration: there is no such subscription, or not any more.
            SiraError: from the iteration: the subscription is not for this caller.
        """
        options = ConsumerOptions(
            concurrency=concurrency,
            prefetch_records=prefetch_records,
            prefetch_bytes=prefetch_bytes,
            sync_acks=sync_acks,
            lease=lease,
        )
        begin = self._feed_of(subscription, consumer, options)
        return self._own(RecordConsumer(begin, self._settings.clock, options))

    def subscribe_batches(
        self,
        subscription: str,
        *,
        consumer: str = "",
        prefetch_records: int = 10_000,
        prefetch_bytes: int = 16 << 20,
        sync_acks: bool = False,
        lease: float = 3600.0,
    ) -> BatchConsumer:
        """Yields the records of a subscription frame by frame: the fast way. See subscribe."""
        options = ConsumerOptions(
            prefetch_records=prefetch_records, prefetch_bytes=prefetch_bytes, sync_acks=sync_acks, lease=lease
        )
        begin = self._feed_of(subscription, consumer, options)
        return self._own(BatchConsumer(begin, self._settings.clock, options))

    def tail(
        self,
        topics: str | Sequence[str],
        *,
        start: TailStart = "latest",
        consumer: str = "",
        prefetch_records: int = 1000,
        prefetch_bytes: int = 8 << 20,
    ) -> TailReader:
        """Yields the records of topics without a subscription, for ever, and after a lost connection from where it was.

        Args:
            topics: names or patterns, `orders.*.created`, `orders.>`.
            start: "earliest", "latest", a time, an offset of one partition; or offsets by topic and partition.
            consumer: name of this consumer, for people.
            prefetch_records: records that may be delivered in advance.
            prefetch_bytes: of their frames.

        Raises:
            ValueError: the start is no position, or a number is out of its range.
            SiraError: from the iteration: the topics are not for this caller.
        """
        options = ConsumerOptions(prefetch_records=prefetch_records, prefetch_bytes=prefetch_bytes)

        def begin(opening: Callable[[], OpenSubscription]) -> Feed:
            return Feed(self._link, self._settings, opening, options.window, options.lease, settles=False)

        patterns = [topics] if isinstance(topics, str) else list(topics)
        return self._own(TailReader(begin, self._settings.clock, self._parent, patterns, start, consumer))

    def _feed_of(self, subscription: str, consumer: str, options: ConsumerOptions) -> Callable[[], Feed]:
        """What begins to deliver the records of a subscription."""
        opening = OpenSubscription(subscription=subscription_name(subscription, self._namespace), consumer=consumer)
        return lambda: Feed(self._link, self._settings, lambda: opening, options.window, options.lease, settles=True)
