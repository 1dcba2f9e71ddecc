"""The reading of topics without a subscription, over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from sira.bus.v1 import dead_letter_service_pb2 as dead
from sira.bus.v1 import subscription_service_pb2 as pb
from sira.bus.v1 import topic_service_pb2 as topic_pb
from sira.bus.v1.subscription_pb2 import PartitionOffset, StartPosition
from sira_client.frames import pack_columns

from sira_grpc.times import timestamp
from tests.clocks import FakeClock
from tests.integration.bus_kernel import topic_name
from tests.integration.bus_stream import PATIENCE, Publisher, Subscriber, settlement
from tests.integration.bus_world import (
    ORDERS,
    WORK,
    bus_of,
    create_subscription,
    create_topic,
    framed,
    letters,
    payloads,
    publish,
    running,
    topics,
)
from tests.integration.registry_kernel import Running

EARLIEST = StartPosition(earliest=StartPosition.Earliest())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def kernel(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Running]:
    async with running(tmp_path, clock=clock) as made:
        await create_topic(made, ORDERS)
        yield made
        assert not made.kernel.failed


async def read(stream: Subscriber, count: int) -> list[str]:
    return [record.payload for record in await stream.records(count)]


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("none", ""),
        ("earliest", "abcde"),
        ("latest", ""),
        ("time", "de"),
        ("offset", "cde"),
        ("beyond", ""),
        ("another", ""),
    ],
)
async def test_a_tail_begins_where_it_is_told(kernel: Running, clock: FakeClock, kind: str, wanted: str) -> None:
    times = []
    for text in "abcde":
        times.append(timestamp(clock.time_ns()))
        await publish(kernel, ORDERS, *payloads(text))
        clock.advance(60)
    start = {
        "none": None,
        "earliest": EARLIEST,
        "latest": StartPosition(latest=StartPosition.Latest()),
        "time": StartPosition(time=times[3]),
        "offset": StartPosition(offset=PartitionOffset(topic="orders", offset=2)),
        "beyond": StartPosition(offset=PartitionOffset(topic="orders", offset=1 << 62)),
        "another": StartPosition(offset=PartitionOffset(topic="other", offset=0)),
    }[kind]
    async with Subscriber.tail(kernel, "orders", start=start) as stream:
        assert stream.opened == pb.Opened()
        await publish(kernel, ORDERS, *payloads("f"))
        await stream.credit(100)
        assert "".join(await read(stream, len(wanted) + 1)) == f"{wanted}f"


async def test_a_tail_goes_on_where_it_was_interrupted(kernel: Running) -> None:
    await create_topic(kernel, topic_name("other"), partitions=2)
    for name, partition in ((ORDERS, 0), (topic_name("other"), 0), (topic_name("other"), 1)):
        await publish(kernel, name, *payloads(*(f"{name[-1]}{partition}{text}" for text in "abc")), partition=partition)
    resume = [
        PartitionOffset(topic="orders", offset=1),
        PartitionOffset(topic="other", partition=1, offset=3),
        PartitionOffset(topic="other", partition=9, offset=0),
        PartitionOffset(topic="none", offset=5),
    ]
    async with Subscriber.tail(kernel, "orders", "other", start=EARLIEST, resume=resume) as stream:
        await stream.credit(100)
        assert sorted(await read(stream, 5)) == ["r0a", "r0b", "r0c", "s0b", "s0c"]


async def test_a_tail_gets_no_more_than_it_asked_for(kernel: Running) -> None:
    frame = pack_columns([bytes(100)] * 4)
    async with Publisher(kernel) as publisher:
        for _ in range(3):
            await publisher.send(framed(frame))
    async with Subscriber.tail(kernel, "orders", start=EARLIEST) as stream:
        for records, size in ((2, 1 << 20), (5, 1 << 20)):
            await stream.credit(records, size)
            await stream.records(records)
        await stream.credit(4, 0)  # bytes are left from before
        assert [record.offset for record in await stream.records(4)] == [7, 8, 9, 10]
        await stream.credit(1, 0)
        assert [record.offset for record in await stream.records(1)] == [11]
        await stream.close()


async def test_topics_that_are_created_later_count_from_their_beginning(kernel: Running) -> None:
    async with Subscriber.tail(kernel, "orders.*", "x.>") as stream:
        await stream.credit(100)
        for name in ("orders.eu", "orders.eu.late", "x", "x.y.z", "y"):
            await create_topic(kernel, topic_name(name))
            await publish(kernel, topic_name(name), *payloads(name))
        assert sorted(await read(stream, 2)) == ["orders.eu", "x.y.z"]
        # One that is deleted and created again is another.
        await topics(kernel).DeleteTopic(topic_pb.DeleteTopicRequest(name=topic_name("orders.eu"), force=True))
        await create_topic(kernel, topic_name("orders.eu"))
        await publish(kernel, topic_name("orders.eu"), *payloads("again"))
        assert await stream.records(1) == [("orders.eu", 0, 0, 0, b"", "again")]


async def test_a_tail_is_not_told_what_is_for_others_or_has_expired(kernel: Running, clock: FakeClock) -> None:
    await create_subscription(kernel, WORK, "orders")
    await publish(kernel, ORDERS, *payloads("a"))
    async with Subscriber.of(kernel, WORK) as consumer:
        await consumer.credit(1)
        await consumer.settle(settlement(*await consumer.records(1), terminate=pb.Terminate()))
    await letters(kernel).RedriveDeadLetters(dead.RedriveDeadLettersRequest(parent=WORK))
    await publish(kernel, ORDERS, *payloads("b", ttl=Duration(seconds=1)), *payloads("c"))
    clock.advance(2)
    async with Subscriber.tail(kernel, "orders", start=EARLIEST) as stream:
        await stream.credit(100)
        assert await read(stream, 2) == ["a", "c"]


@pytest.mark.parametrize("way", ["half-close", "cancel"])
@pytest.mark.parametrize("point", range(3))
async def test_a_tail_that_ends_leaves_nothing(kernel: Running, way: str, point: int) -> None:
    await publish(kernel, ORDERS, *payloads("a", "b"))
    async with Subscriber.tail(kernel, "orders", start=EARLIEST) as stream:
        if point >= 1:
            await stream.credit(10)
        if point >= 2:
            await stream.records(2)
        if way == "cancel":
            stream.call.cancel()
        else:
            await stream.close()
    bus = bus_of(kernel)
    async with asyncio.timeout(PATIENCE):
        while bus.subscribing.tails or any(opened.partition.listeners for opened in bus.partitions.opened()):
            await kernel.status()


async def test_nothing_can_be_settled_of_a_tail(kernel: Running) -> None:
    await publish(kernel, ORDERS, *payloads("a"))
    async with Subscriber.tail(kernel, "orders", start=EARLIEST) as stream:
        await stream.credit(1)
        (record,) = await stream.records(1)
        await stream.write(pb.SubscribeRequest(settle=pb.Settle(settlements=[settlement(record, ack=pb.Ack())])))
        assert await stream.refusal() == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
