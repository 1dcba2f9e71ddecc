"""Publishing over the wire: where records go, what is a duplicate, what waits, and what is refused."""

from __future__ import annotations

import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import aio
from sira.bus.v1 import topic_service_pb2 as topic_pb
from sira.bus.v1.publish_service_pb2 import PublishRequest
from sira.bus.v1.record_pb2 import Attributes, CloudEvent, Record, TraceContext
from sira.bus.v1.subscription_pb2 import StartPosition
from sira.bus.v1.topic_pb2 import Durability, Retention, Topic, TopicLimits, WhenFull
from sira_client.frames import FrameReader, pack_columns

from sira_grpc.times import timestamp
from tests.clocks import FakeClock
from tests.integration.bus_stream import Publisher, Subscriber, records_in
from tests.integration.bus_world import (
    FULL,
    MEMORY,
    ORDERS,
    TINY,
    create_topic,
    framed,
    payloads,
    publish,
    publishing,
    running,
    topic,
    topics,
)
from tests.integration.registry_kernel import Running, refusal
from tests.kernel_store import SERVERS

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
EARLIEST = StartPosition(earliest=StartPosition.Earliest())
SOON_NS = 3_000_000_000 if SERVERS else 300_000_000
"""How far ahead records are scheduled: a few others are published before."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def kernel(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Running]:
    async with running(tmp_path, clock=clock) as made:
        yield made
        assert not made.kernel.failed


async def read_all(kernel: Running, pattern: str, count: int) -> list[str]:
    """What topics hold, from their beginning."""
    async with Subscriber.tail(kernel, pattern, start=EARLIEST) as stream:
        await stream.credit(1_000_000)
        return [record.payload for record in await stream.records(count)]


async def test_a_record_keeps_all_that_it_says(kernel: Running, clock: FakeClock) -> None:
    await create_topic(kernel, ORDERS)
    record = Record(
        id="one",
        key=b"k",
        payload=b"p",
        attributes=Attributes(
            headers={"a": "b"},
            content_type="text/plain",
            cloud_event=CloudEvent(source="s", type="t", subject="u", data_schema="d", extensions={"x1": "y"}),
            trace_context=TraceContext(traceparent="00-1-2-3", tracestate="v=1"),
        ),
        event_time=timestamp(clock.time_ns() - 1),
        ttl=Duration(seconds=3600),
        deliver_at=timestamp(clock.time_ns()),  # which is now
    )
    await publish(kernel, ORDERS, record)
    async with Subscriber.tail(kernel, "orders", start=EARLIEST) as stream:
        await stream.credit(1)
        delivery = await stream.delivery()
    assert FrameReader(delivery.frame).record(0) == record
    assert (delivery.attempt, delivery.publish_time) == (0, timestamp(clock.time_ns()))


async def test_the_key_says_which_partition(kernel: Running) -> None:
    await create_topic(kernel, ORDERS, partitions=7)
    keys = [f"key {number}".encode() for number in range(50)]
    answer = await publish(kernel, ORDERS, *(Record(key=key, payload=key) for key in keys))
    assert [place.partition for place in answer.records] == [zlib.crc32(key) % 7 for key in keys]
    for number in range(7):  # in the order of the request
        offsets = [place.offset for place in answer.records if place.partition == number]
        assert offsets == list(range(len(offsets)))
    assert answer.durability == Durability.DURABILITY_DISK


async def test_records_without_a_key_go_together_to_each_partition_in_turn(kernel: Running) -> None:
    await create_topic(kernel, ORDERS, partitions=3)
    turns = []
    for _ in range(6):
        answer = await publish(kernel, ORDERS, *payloads("a", "b"))
        (number,) = {place.partition for place in answer.records}
        turns.append(number)
    assert turns[:3] == turns[3:]
    assert sorted(turns[:3]) == [0, 1, 2]
    chosen = await publish(kernel, ORDERS, Record(key=b"k", payload=b"c"), Record(payload=b"d"), partition=2)
    assert [(place.partition, place.offset) for place in chosen.records] == [(2, 4), (2, 5)]


async def test_an_id_that_is_there_is_not_stored_again(kernel: Running, clock: FakeClock) -> None:
    await create_topic(kernel, ORDERS, deduplication_window=Duration(seconds=60))
    a, b, c = (Record(id=text, payload=text.encode()) for text in "abc")
    first = await publish(kernel, ORDERS, a, b)
    assert [(place.offset, place.duplicate) for place in first.records] == [(0, False), (1, False)]
    again = await publish(kernel, ORDERS, b, c, *payloads("x"), a, c)
    assert [(place.offset, place.duplicate) for place in again.records] == [
        (1, True),
        (2, False),
        (3, False),
        (0, True),
        (2, True),  # of this very request
    ]
    whole = await publish(kernel, ORDERS, c, a)
    assert [(place.offset, place.duplicate) for place in whole.records] == [(2, True), (0, True)]
    clock.advance(61)
    late = await publish(kernel, ORDERS, a)
    assert [(place.offset, place.duplicate) for place in late.records] == [(4, False)]
    assert await read_all(kernel, "orders", 5) == ["a", "b", "c", "x", "a"]


async def test_ids_are_not_looked_at_where_the_window_is_0(kernel: Running) -> None:
    await create_topic(kernel, ORDERS, deduplication_window=Duration())
    for offset in range(2):
        answer = await publish(kernel, ORDERS, Record(id="a"))
        assert [(place.offset, place.duplicate) for place in answer.records] == [(offset, False)]


async def test_a_frame_that_is_sent_again_is_not_stored_again(kernel: Running) -> None:
    await create_topic(kernel, ORDERS)
    frames = [
        framed(pack_columns([b"x"] * count), producer_id="p", sequence=first) for first, count in ((1, 3), (4, 2))
    ]
    async with Publisher(kernel) as publisher:
        for request, offset in zip(frames, (0, 3), strict=True):
            answer = await publisher.send(request)
            assert (answer.offset, answer.duplicate) == (offset, False)
    async with Publisher(kernel) as publisher:  # it did not hear the answers
        for request, offset in zip(frames, (0, 3), strict=True):
            answer = await publisher.send(request)
            assert (answer.offset, answer.duplicate) == (offset, True)
        following = framed(pack_columns([b"x"]), topic="", producer_id="", sequence=6)
        assert (await publisher.send(following)).offset == 5
        # Another producer, and nobody in particular.
        assert (await publisher.send(framed(pack_columns([b"x"]), producer_id="q", sequence=1))).offset == 6
    async with Publisher(kernel) as publisher:
        for offset in (7, 8):
            assert (await publisher.send(framed(pack_columns([b"x"]), sequence=1))).offset == offset


async def test_a_frame_with_ids_that_are_there_is_stored_in_part(kernel: Running) -> None:
    await create_topic(kernel, ORDERS)
    async with Publisher(kernel) as publisher:
        await publisher.send(framed(pack_columns([b"a", b"b"], ids=["a", "b"])))
        part = framed(pack_columns([b"b", b"c", b"a"], ids=["b", "c", "a"]), producer_id="p", sequence=1)
        answer = await publisher.send(part)
        assert (answer.offset, answer.count, answer.duplicate) == (2, 1, False)
        whole = await publisher.send(framed(pack_columns([b"a", b"b"], ids=["a", "b"]), producer_id="p", sequence=4))
        assert (whole.offset, whole.count, whole.duplicate) == (0, 0, True)
        assert (await publisher.send(part)).duplicate
    assert await read_all(kernel, "orders", 3) == ["a", "b", "c"]


async def test_what_is_in_memory_is_gone_with_the_kernel(tmp_path: Path) -> None:
    async with running(tmp_path) as kernel:
        for name, durability in ((MEMORY, Durability.DURABILITY_MEMORY), (ORDERS, Durability.DURABILITY_UNSPECIFIED)):
            await create_topic(kernel, name, durability=durability)
            answer = await publish(kernel, name, *payloads("a"))
            async with Publisher(kernel) as publisher:
                sent = await publisher.send(framed(pack_columns([b"b"]), topic=name))
            assert sent.durability == answer.durability == (durability or Durability.DURABILITY_DISK)
            assert await read_all(kernel, name.rpartition("/")[2], 2) == ["a", "b"]
    async with running(tmp_path) as kernel:
        for name, kept in ((MEMORY, 0), (ORDERS, 2)):
            assert (await topic(kernel, name)).status.partitions[0].next_offset == kept
            assert (await publish(kernel, name, *payloads("c"))).records[0].offset == kept


async def test_a_topic_that_refuses_is_full_by_records_and_by_bytes(kernel: Running) -> None:
    refuses = WhenFull.WHEN_FULL_REFUSE
    await create_topic(kernel, FULL, retention=Retention(max_records=3, when_full=refuses))
    await create_topic(kernel, TINY, retention=Retention(max_bytes=1000, when_full=refuses))
    await publish(kernel, FULL, *payloads("a", "b"))
    error = await refusal(publish(kernel, FULL, *payloads("c", "d")))
    assert error == (EXHAUSTED, "TOPIC_FULL")
    await publish(kernel, FULL, *payloads("c"))
    await publish(kernel, TINY, Record(payload=bytes(800)))
    assert await refusal(publish(kernel, TINY, Record(payload=bytes(400)))) == (EXHAUSTED, "TOPIC_FULL")
    async with Publisher(kernel) as publisher:
        await publisher.write(framed(pack_columns([bytes(400)]), topic=TINY))
        assert await publisher.refusal() == (EXHAUSTED, "TOPIC_FULL")
    # With more room it goes on.
    roomy = Topic(name=FULL, retention=Retention(max_records=4, when_full=refuses))
    await topics(kernel).UpdateTopic(topic_pb.UpdateTopicRequest(topic=roomy))
    await publish(kernel, FULL, *payloads("d"))
    assert await read_all(kernel, "full", 4) == ["a", "b", "c", "d"]


async def test_a_publisher_over_its_quota_is_told_when_to_come_back(kernel: Running, clock: FakeClock) -> None:
    await create_topic(kernel, ORDERS, limits=TopicLimits(records_per_second=2))
    await publish(kernel, ORDERS, *payloads("a", "b"))
    for _ in range(3):
        request = PublishRequest(topic=ORDERS, records=payloads("c"))
        with pytest.raises(aio.AioRpcError) as caught:
            await publishing(kernel).Publish(request)
        assert caught.value.code() == EXHAUSTED
        assert "records_per_second" in (caught.value.details() or "")
    clock.advance(0.5)
    await publish(kernel, ORDERS, *payloads("c"))
    assert await read_all(kernel, "orders", 3) == ["a", "b", "c"]


async def test_records_wait_for_their_time(tmp_path: Path) -> None:
    async with running(tmp_path) as kernel:  # on the real clock: the kernel waits for it
        await create_topic(kernel, ORDERS)
        due = time.time_ns() + SOON_NS
        waiting = [Record(payload=text.encode(), deliver_at=timestamp(due)) for text in ("c", "d")]
        answer = await publish(kernel, ORDERS, *payloads("b"), *waiting)
        assert [place.offset for place in answer.records] == [-1, -1, -1]  # a frame waits as a whole
        async with Publisher(kernel) as publisher:
            frame = framed(pack_columns([b"e"], deliver_at_ns=[due + 1]), producer_id="p", sequence=1)
            assert (await publisher.send(frame)).offset == -1
            assert (await publisher.send(frame)).duplicate
        async with Subscriber.tail(kernel, "orders", start=EARLIEST) as stream:
            await publish(kernel, ORDERS, *payloads("a"))
            await stream.credit(10)
            got: dict[str, int] = {}
            while len(got) < 5:
                delivery = await stream.delivery()
                got |= {each.payload: delivery.publish_time.ToNanoseconds() for each in records_in(delivery)}
        assert {text for text, published in got.items() if published >= due} == {"c", "d", "e"}
        assert list(got)[2:] == ["c", "d", "e"]
        status = (await topic(kernel, ORDERS)).status.partitions[0]
        assert (status.next_offset, status.scheduled) == (5, 0)


async def test_records_that_wait_survive_the_kernel(tmp_path: Path) -> None:
    due = time.time_ns() + 400_000_000
    async with running(tmp_path) as kernel:
        await create_topic(kernel, ORDERS)
        await publish(kernel, ORDERS, Record(payload=b"a", deliver_at=timestamp(due)))
        assert (await topic(kernel, ORDERS)).status.partitions[0].scheduled <= 1
    async with running(tmp_path) as kernel:
        assert await read_all(kernel, "orders", 1) == ["a"]


async def test_a_topic_with_records_that_wait_is_not_empty(kernel: Running, clock: FakeClock) -> None:
    await create_topic(kernel, ORDERS)
    tomorrow = timestamp(clock.time_ns() + 86_400_000_000_000)
    await publish(kernel, ORDERS, Record(payload=b"a", deliver_at=tomorrow))
    status = (await topic(kernel, ORDERS)).status.partitions[0]
    assert (status.next_offset, status.scheduled) == (0, 1)
    delete = topics(kernel).DeleteTopic(topic_pb.DeleteTopicRequest(name=ORDERS))
    assert await refusal(delete) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_EMPTY")
