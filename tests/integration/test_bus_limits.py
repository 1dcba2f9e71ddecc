"""What is just within the limits of the bus: it is taken, kept as it is, and delivered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from sira.bus.v1 import dead_letter_service_pb2 as dead
from sira.bus.v1 import subscription_service_pb2 as pb
from sira.bus.v1 import topic_service_pb2 as topic_pb
from sira.bus.v1.frame_pb2 import Compression, Frame
from sira.bus.v1.record_pb2 import Attributes, CloudEvent, Record, TraceContext
from sira.bus.v1.subscription_pb2 import PartitionOffset, RetryPolicy, StartPosition
from sira.bus.v1.topic_pb2 import Compaction, Retention, TopicLimits
from sira_client.frames import FrameReader, pack_columns

from sira_grpc.times import timestamp
from tests.clocks import FakeClock
from tests.integration.bus_kernel import subscription_name, topic_name
from tests.integration.bus_stream import Publisher, Subscriber, settlement
from tests.integration.bus_world import (
    ORDERS,
    WORK,
    create_subscription,
    create_topic,
    framed,
    letters,
    publish,
    running,
    topic,
    topics,
)
from tests.integration.registry_kernel import Running

LONG = "a" * 63
TOPIC = f"{LONG}.{LONG}.{LONG}.bcde.1.g"
"""200 characters."""
YEARS, DAY = Duration(seconds=315_360_000), Duration(seconds=86_400)
RECORD_BYTES = 1 << 20
ATTRIBUTES_BYTES = 64 << 10
FRAME_BYTES = 3 << 20
EARLIEST = StartPosition(earliest=StartPosition.Earliest())
NOW_NS = FakeClock().time_ns()


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, clock=FakeClock()) as made:
        yield made
        assert not made.kernel.failed


async def test_a_topic(kernel: Running) -> None:
    assert len(TOPIC) == 200
    fields: dict[str, Any] = {
        "description": "\u00e9" * 256,
        "partitions": 256,
        "retention": Retention(max_age=YEARS, max_bytes=(1 << 64) - 1, max_records=(1 << 64) - 1, when_full=2),  # type: ignore[arg-type]  # REFUSE
        "compaction": Compaction(min_age=YEARS, tombstone_age=YEARS),
        "limits": TopicLimits(
            max_record_bytes=RECORD_BYTES, records_per_second=(1 << 32) - 1, bytes_per_second=(1 << 64) - 1
        ),
        "deduplication_window": DAY,
    }
    created = await create_topic(kernel, topic_name(TOPIC), etag="e" * 64, **fields)
    for name, value in fields.items():
        assert getattr(created, name) == value
    answer = await publish(kernel, topic_name(TOPIC), Record(payload=b"x"), partition=255)
    assert (answer.records[0].partition, answer.records[0].offset) == (255, 0)
    nothing: dict[str, Any] = {
        "retention": Retention(max_age=Duration()),
        "compaction": Compaction(min_age=Duration(), tombstone_age=Duration()),
        "deduplication_window": Duration(),
    }
    smallest = await create_topic(kernel, topic_name("0"), **nothing)
    for name, value in nothing.items():
        assert getattr(smallest, name) == value
    page = await topics(kernel).ListTopics(
        topic_pb.ListTopicsRequest(parent="namespaces/default", page_size=(1 << 31) - 1)
    )
    assert [each.name for each in page.topics] == [topic_name("0"), topic_name(TOPIC)]


async def test_a_subscription(kernel: Running) -> None:
    await create_topic(kernel, topic_name(TOPIC), partitions=256)
    fields: dict[str, Any] = {
        "description": "d" * 256,
        "ack_timeout": Duration(seconds=43_200),
        "retry": RetryPolicy(max_deliveries=1000, min_backoff=DAY, max_backoff=DAY),
        "max_outstanding": 200_000,
    }
    patterns = [TOPIC, ">", "*", "*.>", *(f"t{number}" for number in range(12))]
    start = StartPosition(offset=PartitionOffset(topic=TOPIC, partition=255, offset=(1 << 63) - 1))
    created = await create_subscription(kernel, subscription_name(LONG), *patterns, start=start, **fields)
    for name, value in fields.items():
        assert getattr(created, name) == value
    assert list(created.topics) == patterns
    assert len(created.status.partitions) == 256  # though it matches more than once
    shortest = await create_subscription(kernel, WORK, ">", ack_timeout=Duration(nanos=100_000_000))
    assert shortest.ack_timeout == Duration(nanos=100_000_000)


def full_attributes() -> Attributes:
    """As many bytes as a record may say of itself, by every rule."""
    attributes = Attributes(
        headers={f"{number:0128}": "" for number in range(63)},
        content_type="c" * 256,
        cloud_event=CloudEvent(
            source="s" * 512,
            type="t" * 256,
            subject="u" * 512,
            data_schema="d" * 512,
            extensions={f"x{number:063}": "" for number in range(31)},
        ),
        trace_context=TraceContext(traceparent="p" * 128, tracestate="t" * 512),
    )
    for number in range(11):
        attributes.headers[f"{number:0128}"] = "x" * 4096
    attributes.cloud_event.extensions["y"] = "y" * 4096
    attributes.headers["z"] = ""
    attributes.headers["z"] = "z" * (ATTRIBUTES_BYTES - attributes.ByteSize() - 2)
    while attributes.ByteSize() > ATTRIBUTES_BYTES:  # its length takes a byte more
        attributes.headers["z"] = attributes.headers["z"][:-1]
    assert attributes.ByteSize() == ATTRIBUTES_BYTES
    return attributes


async def test_a_record(kernel: Running) -> None:
    await create_topic(kernel, ORDERS)
    attributes = full_attributes()
    record = Record(
        id="\u00e9" * 128,
        key=b"k" * 1024,
        payload=bytes(RECORD_BYTES - 1024 - ATTRIBUTES_BYTES),
        attributes=attributes,
        event_time=timestamp((1 << 63) - 1),
        ttl=Duration(seconds=4_233_600),
    )
    first = timestamp(1 - (1 << 63))
    oldest = Record(payload=bytes(RECORD_BYTES), event_time=first, deliver_at=first, ttl=Duration(nanos=1_000_000))
    await publish(kernel, ORDERS, record, oldest)
    last = Record(payload=b"x", deliver_at=Timestamp(seconds=NOW_NS // 1_000_000_000 + 366 * 86_400))
    assert (await publish(kernel, ORDERS, last)).records[0].offset == -1
    await publish(kernel, ORDERS, *[Record(payload=b"x")] * 1000)
    async with Subscriber.tail(kernel, "orders", start=EARLIEST) as stream:
        await stream.credit(1_000_000)
        reader = FrameReader((await stream.delivery()).frame)
        assert [reader.record(index) for index in range(reader.count)] == [record, oldest]
        await stream.records(1000)
    status = (await topic(kernel, ORDERS)).status.partitions[0]
    assert (status.next_offset, status.scheduled) == (1002, 1)


def large_frame() -> bytes:
    """A frame of as many bytes as one may have."""
    sizes = [RECORD_BYTES, RECORD_BYTES, RECORD_BYTES - 1000]
    short = FRAME_BYTES - len(pack_columns([bytes(size) for size in sizes]))
    sizes[-1] += short
    return pack_columns([bytes(size) for size in sizes])


async def test_frames(kernel: Running) -> None:
    await create_topic(kernel, ORDERS)
    await create_subscription(kernel, WORK, "orders")
    many = pack_columns([b""] * 10_000)
    large = large_frame()
    assert len(large) == FRAME_BYTES
    unpacked = Frame(
        count=32,
        compression=Compression.COMPRESSION_ZSTD,
        payloads_bytes=32 << 20,
        payload_sizes=[RECORD_BYTES] * 32,
        payloads=b"as much as it says",
    ).SerializeToString()
    producer = "Az09._-".ljust(64, "x")
    async with Publisher(kernel) as publisher:
        for frame, sequence, offset in ((many, 1, 0), (large, 10_001, 10_000), (unpacked, 10_004, 10_003)):
            answer = await publisher.send(framed(frame, producer_id=producer, sequence=sequence))
            assert answer.offset == offset
    async with Subscriber.of(kernel, WORK, consumer="c" * 128) as stream:
        await stream.credit(1_000_000)
        count, frames = 0, list[bytes]()
        while count < 10_035:
            delivery = await stream.delivery()
            count += sum(each.end - each.first for each in delivery.ranges) or FrameReader(delivery.frame).count
            frames.append(delivery.frame)
        assert frames[-2:] == [large, unpacked]


async def test_settlements(kernel: Running) -> None:
    await create_topic(kernel, ORDERS)
    await create_subscription(kernel, WORK, "orders")
    await publish(kernel, ORDERS, *[Record(payload=b"x")] * 1000)
    async with Subscriber.of(kernel, WORK) as stream:
        await stream.credit(1_000_000)
        records = await stream.records(1000)
        extended = [settlement(record, extend=pb.Extend(timeout=Duration(seconds=43_200))) for record in records]
        assert not (await stream.settle(*extended)).stale
        assert not (await stream.settle(settlement(*records, extend=pb.Extend()))).stale
        detail = "\u00e9" * 1024
        last = settlement(records[-1], terminate=pb.Terminate(detail=detail))
        back = settlement(records[-2], nak=pb.Nak(delay=Duration(seconds=604_800), detail=detail))
        done = [settlement(record, ack=pb.Ack()) for record in records[:-2]]
        assert not (await stream.settle(*done, last, back)).stale
        await stream.close()
    chosen = dead.DeadLetterFilter(ids=range(1000), headers={}, topic="orders")
    page = await letters(kernel).ListDeadLetters(
        dead.ListDeadLettersRequest(parent=WORK, filter=chosen, page_size=(1 << 31) - 1)
    )
    (letter,) = page.dead_letters
    assert letter.detail == detail
    request = dead.RedriveDeadLettersRequest(parent=WORK, limit=10_000, max_redrives=1000, filter=chosen)
    assert (await letters(kernel).RedriveDeadLetters(request)).redriven == 1
    purge = dead.PurgeDeadLettersRequest(parent=WORK, limit=10_000, filter=chosen)
    assert (await letters(kernel).PurgeDeadLetters(purge)).purged == 0
