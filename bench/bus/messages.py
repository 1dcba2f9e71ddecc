"""The records and frames that the benchmark sends, and the requests that get topics and subscriptions ready."""

from __future__ import annotations

import random
from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from sira.bus.v1.frame_pb2 import Frame
from sira.bus.v1.subscription_pb2 import Subscription
from sira.bus.v1.subscription_service_pb2 import CreateSubscriptionRequest
from sira.bus.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from sira.bus.v1.topic_pb2 import Topic
from sira.bus.v1.topic_service_pb2 import CreateTopicRequest
from sira.bus.v1.topic_service_pb2_grpc import TopicServiceStub
from sira_client.frames import pack_columns

from bench.load import channels
from bench.processes import Server

NAMESPACE = "namespaces/default"
RECORD_BYTES = 128
SYNCED = "fdatasync before the ack"
UNPACED = 1 << 40
"""A number for payloads whose time nobody takes."""
_NUMBER_BYTES = 8


def topic(name: str) -> str:
    """Returns the full name of a topic."""
    return f"{NAMESPACE}/topics/{name}"


def subscription(name: str) -> str:
    """Returns the full name of a subscription."""
    return f"{NAMESPACE}/subscriptions/{name}"


def payloads(count: int, *, size: int = RECORD_BYTES) -> list[bytes]:
    """Returns payloads that cannot be compressed, numbered from 0."""
    chance = random.Random(1)
    return [number.to_bytes(_NUMBER_BYTES) + chance.randbytes(size - _NUMBER_BYTES) for number in range(count)]


def numbered(number: int, payload: bytes) -> bytes:
    """Returns a payload with another number."""
    return number.to_bytes(_NUMBER_BYTES) + payload[_NUMBER_BYTES:]


def number_of(payload: bytes) -> int:
    """Returns the number of a payload."""
    return int.from_bytes(payload[:_NUMBER_BYTES])


def scheduled_frame(records: Sequence[bytes], deliver_at_ns: Sequence[int]) -> bytes:
    """Returns the frame of records that are not to be delivered before, Unix nanoseconds."""
    frame = Frame.FromString(pack_columns(records))
    frame.deliver_at_ns.extend(deliver_at_ns)
    return frame.SerializeToString()


async def prepare(kernel: Server, topic_name: str, *subscriptions: str, max_outstanding: int = 0) -> None:
    """Creates a topic with one partition, and subscriptions that read it from its beginning.

    Args:
        kernel: where.
        topic_name: the topic, without its namespace.
        subscriptions: likewise.
        max_outstanding: of the subscriptions; 0 means the default.
    """
    async with channels(kernel.address, 1) as (channel,):
        await TopicServiceStub(channel).CreateTopic(CreateTopicRequest(topic=Topic(name=topic(topic_name))))
        for name in subscriptions:
            created = Subscription(
                name=subscription(name),
                topics=[topic_name],
                max_outstanding=max_outstanding,
                ack_timeout=Duration(seconds=300),
            )
            created.start.earliest.SetInParent()
            await SubscriptionServiceStub(channel).CreateSubscription(CreateSubscriptionRequest(subscription=created))
