"""Delivery to the consumers of subscriptions, over the wire: credits, settlements, attempts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from sira.bus.v1 import subscription_service_pb2 as pb
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.subscription_pb2 import RetryPolicy, SubscriptionMode
from sira.bus.v1.topic_pb2 import Durability
from sira_client.frames import pack_columns

from tests.clocks import FakeClock
from tests.integration.bus_stream import Got, Publisher, Subscriber, settlement
from tests.integration.bus_world import (
    MEMORY,
    ORDERS,
    WORK,
    create_subscription,
    create_topic,
    framed,
    payloads,
    publish,
    running,
    subscription,
    subscriptions,
    topic,
)
from tests.integration.registry_kernel import Running

QUEUE, ORDERED = SubscriptionMode.SUBSCRIPTION_MODE_QUEUE, SubscriptionMode.SUBSCRIPTION_MODE_ORDERED
BOTH = pytest.mark.parametrize("mode", [QUEUE, ORDERED], ids=["queue", "ordered"])
ACK, NAK = pb.Ack(), pb.Nak()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def kernel(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Running]:
    async with running(tmp_path, clock=clock) as made:
        await create_topic(made, ORDERS)
        yield made
        assert not made.kernel.failed


async def later(stream: Subscriber, clock: FakeClock, seconds: float) -> None:
    """Lets time pass, and the kernel look at the clock."""
    clock.advance(seconds)
    await stream.credit(0, 0)


def told(records: list[Got]) -> list[tuple[str, int]]:
    """Payloads and attempts."""
    return [(record.payload, record.attempt) for record in records]


@BOTH
async def test_a_consumer_gets_no_more_records_than_it_asked_for(kernel: Running, mode: Any) -> None:
    await create_subscription(kernel, WORK, "orders", mode=mode)
    await publish(kernel, ORDERS, *payloads(*"abcdefghij"))
    async with Subscriber.of(kernel, WORK) as stream:
        assert (stream.opened.ack_timeout, stream.opened.mode) == (Duration(seconds=30), mode)
        got: list[Got] = []
        for records in (1, 3, 2, 4):
            await stream.credit(records)
            got += await stream.records(records)
            await stream.nothing_more()
        assert told(got) == [(text, 1) for text in "abcdefghij"]
        assert [record.offset for record in got] == list(range(10))
        await stream.ack(got)
        await stream.close()
    status = (await subscription(kernel, WORK)).status
    assert (status.lag, status.partitions[0].settled_offset, status.partitions[0].outstanding) == (0, 10, 0)


async def test_a_consumer_gets_no_more_bytes_than_it_asked_for_but_for_the_last_frame(kernel: Running) -> None:
    await create_subscription(kernel, WORK, "orders")
    frame = pack_columns([bytes(1000)])
    async with Publisher(kernel) as publisher:
        for _ in range(5):
            await publisher.send(framed(frame))
    async with Subscriber.of(kernel, WORK) as stream:
        await stream.credit(100, 2 * len(frame) + 1)
        await stream.records(3)
        await stream.nothing_more()
        await stream.credit(0, len(frame) - 1)  # all of it is owed
        await stream.nothing_more()
        await stream.credit(0, 1)
        await stream.records(1)
        await stream.nothing_more()


@BOTH
async def test_competing_consumers_get_each_record_once(kernel: Running, mode: Any) -> None:
    await create_subscription(kernel, WORK, "orders", mode=mode)
    async with Subscriber.of(kernel, WORK) as one, Subscriber.of(kernel, WORK) as other:
        for stream in (one, other):
            await stream.credit(3)
        await publish(kernel, ORDERS, *(Record(key=text.encode(), payload=text.encode()) for text in "abcdef"))
        first, second = await one.records(3), await other.records(3)
        assert sorted(told(first + second)) == [(text, 1) for text in "abcdef"]
        status = (await subscription(kernel, WORK)).status
        assert (status.consumers, status.partitions[0].outstanding, status.lag) == (2, 6, 6)
        # What is with one is not the other's to settle.
        settled = await one.settle(settlement(*second, ack=ACK))
        assert [each.range.first for each in settled.stale] == [record.offset for record in second]
        await one.ack(first)
        await other.ack(second)
        # Nor twice.
        assert (await one.settle(settlement(first[0], ack=ACK))).stale
    assert (await subscription(kernel, WORK)).status.lag == 0


async def test_the_records_of_a_key_go_to_one_consumer_and_others_go_on(kernel: Running) -> None:
    await create_subscription(kernel, WORK, "orders", mode=ORDERED)
    await publish(kernel, ORDERS, *payloads("a1", "a2", key=b"a"), *payloads("b1", key=b"b"))
    async with Subscriber.of(kernel, WORK) as one, Subscriber.of(kernel, WORK) as other:
        await one.credit(1)
        (first,) = await one.records(1)
        assert first.payload == "a1"
        await other.credit(2)
        assert told(await other.records(1)) == [("b1", 1)]
        await other.nothing_more()  # a2 has to wait for a1
        await one.settle(settlement(first, nak=pb.Nak(delay=Duration())))
        assert told(await other.records(1)) == [("a1", 2)]


@BOTH
async def test_what_is_not_acknowledged_in_time_is_delivered_again(
    kernel: Running, clock: FakeClock, mode: Any
) -> None:
    await create_subscription(kernel, WORK, "orders", mode=mode, ack_timeout=Duration(seconds=5))
    await publish(kernel, ORDERS, *payloads("a", "b", key=b"k"))
    async with Subscriber.of(kernel, WORK) as stream:
        await stream.credit(10)
        a, b = await stream.records(2)
        await later(stream, clock, 3)
        settled = await stream.settle(settlement(b, extend=pb.Extend(timeout=Duration(seconds=60))))
        assert not settled.stale
        await later(stream, clock, 3)  # a is overdue, and waits for a second
        await stream.nothing_more()
        status = (await subscription(kernel, WORK)).status.partitions[0]
        if mode == QUEUE:
            assert (status.outstanding, status.retrying) == (1, 1)
        assert [each.range.first for each in (await stream.settle(settlement(a, ack=ACK))).stale] == [a.offset]
        await later(stream, clock, 2)
        if mode == QUEUE:
            assert told(await stream.records(1)) == [("a", 2)]
            await stream.ack([b])
        else:  # what follows a has gone back with it, in vain through no fault of its own
            assert told(await stream.records(2)) == [("a", 2), ("b", 1)]


async def test_records_that_are_given_back_wait_as_long_as_was_said(kernel: Running, clock: FakeClock) -> None:
    await create_subscription(kernel, WORK, "orders")
    await publish(kernel, ORDERS, *payloads("at once", "in an hour", "by the rule", "never"))
    async with Subscriber.of(kernel, WORK) as stream:
        await stream.credit(10)
        at_once, in_an_hour, by_the_rule, _ = await stream.records(4)
        settled = await stream.settle(
            settlement(in_an_hour, nak=pb.Nak(delay=Duration(seconds=3600))), settlement(by_the_rule, nak=NAK)
        )
        assert (settled.durability, list(settled.stale)) == (Durability.DURABILITY_DISK, [])
        await stream.settle(settlement(at_once, nak=pb.Nak(delay=Duration())))
        assert told(await stream.records(1)) == [("at once", 2)]
        await stream.nothing_more()
        await later(stream, clock, 2)
        assert told(await stream.records(1)) == [("by the rule", 2)]
        await stream.nothing_more()
        await stream.settle(
            pb.Settlement(topic="orders", ranges=[pb.OffsetRange(first=0, end=4)], extend=pb.Extend(timeout=HOURS))
        )
        await later(stream, clock, 3600)
        assert told(await stream.records(1)) == [("in an hour", 2)]


async def test_an_ack_behind_an_unsettled_record_of_its_key_is_not_durable_yet(kernel: Running) -> None:
    await create_subscription(kernel, WORK, "orders", mode=ORDERED)
    await publish(kernel, ORDERS, *(Record(key=b"k", payload=p) for p in (b"a", b"b")), Record(key=b"l", payload=b"c"))
    async with Subscriber.of(kernel, WORK) as stream:
        await stream.credit(10)
        a, b, c = await stream.records(3)
        for record, durability in (
            (b, Durability.DURABILITY_MEMORY),
            (c, Durability.DURABILITY_DISK),
            (a, Durability.DURABILITY_DISK),
        ):
            assert (await stream.settle(settlement(record, ack=ACK))).durability == durability
    assert (await subscription(kernel, WORK)).status.lag == 0


HOURS = Duration(seconds=40_000)


async def test_the_delay_doubles_with_each_delivery(kernel: Running, clock: FakeClock) -> None:
    retry = RetryPolicy(min_backoff=Duration(seconds=10), max_backoff=Duration(seconds=20))
    await create_subscription(kernel, WORK, "orders", retry=retry)
    await publish(kernel, ORDERS, *payloads("a"))
    async with Subscriber.of(kernel, WORK) as stream:
        await stream.credit(10)
        for attempt, (too_early, late) in enumerate(((7.9, 4.2), (15.9, 8.2), (15.9, 4.2)), start=1):
            (record,) = await stream.records(1)
            assert record.attempt == attempt
            await stream.settle(settlement(record, nak=NAK))
            await later(stream, clock, too_early)
            await stream.nothing_more()
            await later(stream, clock, late)
        await stream.records(1)


@BOTH
async def test_a_range_may_cover_more_than_a_consumer_has(kernel: Running, mode: Any) -> None:
    await create_subscription(kernel, WORK, "orders", mode=mode)
    await publish(kernel, ORDERS, *payloads(*"abcdef"))
    async with Subscriber.of(kernel, WORK) as stream:
        await stream.credit(3)
        await stream.records(3)
        everything = pb.Settlement(topic="orders", ranges=[pb.OffsetRange(first=0, end=1 << 62)], ack=ACK)
        settled = await stream.settle(everything)
        assert [(each.range.first, each.range.end) for each in settled.stale] == [(3, 1 << 62)]
        await stream.close()
    assert (await subscription(kernel, WORK)).status.lag == 3


async def test_what_is_in_memory_is_said_to_be(kernel: Running) -> None:
    await create_topic(kernel, MEMORY, durability=Durability.DURABILITY_MEMORY)
    await create_subscription(kernel, WORK, ">")
    for name in (ORDERS, MEMORY):
        await publish(kernel, name, *payloads("a"))
    async with Subscriber.of(kernel, WORK) as stream:
        await stream.credit(10)
        records = {record.topic: record for record in await stream.records(2)}
        both = await stream.settle(*(settlement(record, ack=ACK) for record in records.values()))
        assert (both.durability, list(both.stale)) == (Durability.DURABILITY_MEMORY, [])


@BOTH
async def test_records_that_have_expired_are_not_delivered(kernel: Running, clock: FakeClock, mode: Any) -> None:
    await create_subscription(kernel, WORK, "orders", mode=mode)
    brief = payloads("a", "c", ttl=Duration(seconds=5))
    await publish(kernel, ORDERS, brief[0], *payloads("b"), brief[1], *payloads("d"))
    clock.advance(6)
    async with Subscriber.of(kernel, WORK) as stream:
        await stream.credit(10)
        records = await stream.records(2)
        assert told(records) == [("b", 1), ("d", 1)]
        await stream.ack(records)
        await stream.close()
    status = (await subscription(kernel, WORK)).status
    assert (status.lag, status.dead_letters) == (0, 0)
    assert (await topic(kernel, ORDERS)).status.partitions[0].next_offset == 4


async def test_the_streams_of_a_subscription_that_is_deleted_end(kernel: Running) -> None:
    await create_subscription(kernel, WORK, "orders")
    async with Subscriber.of(kernel, WORK) as one, Subscriber.of(kernel, WORK) as other:
        await one.credit(10)
        await subscriptions(kernel).DeleteSubscription(pb.DeleteSubscriptionRequest(name=WORK))
        for stream in (one, other):
            assert await stream.refusal() == (grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND")
