"""Streams of deliveries that are misused: what they do harms nobody else, and what they hold goes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from sira.bus.v1 import subscription_service_pb2 as pb
from sira.bus.v1.subscription_pb2 import RetryPolicy
from sira_client.frames import pack_columns

from sira_grpc.bus.consumer import OUTBOX_BYTES
from tests.clocks import FakeClock
from tests.integration.bus_stream import PATIENCE, Got, Publisher, Subscriber, settlement
from tests.integration.bus_world import (
    LINE,
    ORDERS,
    WORK,
    bus_of,
    create_subscription,
    create_topic,
    framed,
    image,
    payloads,
    prepare,
    publish,
    quiet,
    running,
)
from tests.integration.registry_kernel import Running

OUTCOMES: list[dict[str, Any]] = [
    {"ack": pb.Ack()},
    {"nak": pb.Nak()},
    {"nak": pb.Nak(delay=Duration(seconds=604_800), detail="x" * 1024)},
    {"extend": pb.Extend()},
    {"extend": pb.Extend(timeout=Duration(seconds=43_200))},
    {"terminate": pb.Terminate(detail="x")},
]
HIGHEST = (1 << 63) - 1
RANGES = [(0, 1), (0, 1 << 62), (0, HIGHEST), (HIGHEST - 1, HIGHEST), (5, 6), (1, 3), (1, 3)]


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, clock=FakeClock()) as made:
        yield made
        assert not made.kernel.failed


def ranges_of(pairs: list[tuple[int, int]]) -> list[pb.OffsetRange]:
    return [pb.OffsetRange(first=first, end=end) for first, end in pairs]


@pytest.mark.parametrize("name", [WORK, LINE])
@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
async def test_what_is_not_with_a_consumer_is_stale(kernel: Running, name: str, outcome: dict[str, Any]) -> None:
    await prepare(kernel)
    before = await image(kernel)
    async with Subscriber.of(kernel, name) as stream:
        for place in (("orders", 0), ("orders", 1), ("orders", 2), ("orders", 1 << 31), ("none", 0), ("", 0)):
            ranges = ranges_of(RANGES)
            settled = await stream.settle(pb.Settlement(topic=place[0], partition=place[1], ranges=ranges, **outcome))
            assert [each.range for each in settled.stale] == ranges
            assert {(each.topic, each.partition) for each in settled.stale} == {place}
        await stream.close()
    assert await image(kernel) == before


@pytest.mark.parametrize("name", [WORK, LINE])
async def test_many_settlements_of_many_ranges_are_carried_out_in_their_order(kernel: Running, name: str) -> None:
    await prepare(kernel)
    before = await image(kernel)
    apart = [(2 * number, 2 * number + 1) for number in range(10_000)]
    async with Subscriber.of(kernel, name) as stream:
        many = [pb.Settlement(topic="orders", ranges=ranges_of(apart[n : n + 5]), ack=pb.Ack()) for n in range(999)]
        one = pb.Settlement(topic="orders", partition=1, ranges=ranges_of(apart), nak=pb.Nak())
        settled = await stream.settle(*many, one)
        assert [each.range for each in settled.stale] == [each for part in (*many, one) for each in part.ranges]
        await stream.close()
    assert await image(kernel) == before


async def test_more_than_a_message_may_hold_is_refused(kernel: Running) -> None:
    await prepare(kernel)
    before = await image(kernel)
    ranges = ranges_of([(1 << 40, (1 << 40) + 1)] * 10_000)
    async with Subscriber.of(kernel, WORK) as stream:
        every = [pb.Settlement(topic="orders", ranges=ranges, ack=pb.Ack())] * 100
        await stream.write(pb.SubscribeRequest(settle=pb.Settle(settlements=every)))
        assert (await stream.refusal())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await image(kernel) == before


async def test_more_ranges_than_one_answer_may_name_are_refused(kernel: Running) -> None:
    await prepare(kernel)
    before = await image(kernel)
    async with Subscriber.of(kernel, WORK) as stream:
        many = [pb.Settlement(topic="orders", ranges=ranges_of([(1, 2)] * 7_501), ack=pb.Ack())] * 2
        await stream.write(pb.SubscribeRequest(settle=pb.Settle(settlements=many)))
        assert await stream.refusal() == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert await image(kernel) == before


async def test_credit_of_nothing_and_of_everything(kernel: Running) -> None:
    await create_topic(kernel, ORDERS)
    await create_subscription(kernel, WORK, "orders")
    await publish(kernel, ORDERS, *payloads("a", "b", "c"))
    async with Subscriber.of(kernel, WORK) as stream:
        for records, size in ((0, 0), (1, 0), (0, 1 << 30)):  # of these, one record and many bytes are left
            await stream.credit(records, size)
        first = await stream.records(1)
        assert [got.payload for got in first] == ["a"]
        await stream.nothing_more()
        for _ in range(3000):
            await stream.credit(1_000_000, 1 << 30)
        assert [got.payload for got in await stream.records(2)] == ["b", "c"]
        for consumer in bus_of(kernel).active.opened()[0].consumers.values():
            assert consumer.records <= 1 << 31
            assert consumer.size <= 1 << 40


async def test_a_consumer_that_reads_nothing_does_not_make_the_kernel_keep_its_answers(kernel: Running) -> None:
    await prepare(kernel)
    stale = pb.Settlement(topic="orders", ranges=ranges_of([(n, n + 1) for n in range(100, 5100, 2)]), ack=pb.Ack())
    settle = pb.SubscribeRequest(settle=pb.Settle(settlements=[stale]))
    count = 200
    async with Subscriber.of(kernel, WORK) as stream:

        async def write_all() -> None:
            for _ in range(count):
                await stream.call.write(settle)

        writing = asyncio.create_task(write_all())
        (active,) = [active for active in bus_of(kernel).active.opened() if active.entry.name == WORK]
        (consumer,) = active.consumers.values()
        async with asyncio.timeout(PATIENCE):
            while consumer._waiting < OUTBOX_BYTES:
                await kernel.status()
        for _ in range(100):  # as long as it takes to answer some of them, if it did
            await kernel.status()
        assert consumer._waiting < OUTBOX_BYTES + (1 << 17)
        # Nothing is lost of it: when it reads, all come.
        for _ in range(count):
            assert len((await stream.response()).settled.stale) == len(stale.ranges)
        await writing


async def test_a_consumer_that_reads_nothing_holds_up_no_other(kernel: Running) -> None:
    await create_topic(kernel, ORDERS)
    for name in (WORK, LINE):
        await create_subscription(kernel, name, "orders")
    frame = pack_columns([bytes(100_000)] * 10)
    async with Publisher(kernel) as publisher:
        for _ in range(20):
            await publisher.send(framed(frame))
    async with Subscriber.of(kernel, WORK) as stalled, Subscriber.of(kernel, LINE) as other:
        await stalled.credit(200)
        await other.credit(200)
        assert len(await other.records(200)) == 200
        (active,) = [active for active in bus_of(kernel).active.opened() if active.entry.name == WORK]
        (consumer,) = active.consumers.values()
        assert consumer._waiting < 2 * OUTBOX_BYTES
        assert len(await stalled.records(200)) == 200


async def consumed(kernel: Running, name: str, count: int) -> list[Got]:
    """What another consumer gets."""
    async with Subscriber.of(kernel, name) as stream:
        await stream.credit(100)
        found = await stream.records(count)
        await stream.nothing_more()
        await stream.close()
    return found


@pytest.mark.parametrize("mode", [1, 2], ids=["queue", "ordered"])
@pytest.mark.parametrize("point", range(5))
@pytest.mark.parametrize("way", ["half-close", "cancel"])
async def test_what_a_consumer_leaves_goes_to_the_next_one(kernel: Running, mode: int, point: int, way: str) -> None:
    await create_topic(kernel, ORDERS)
    at_once = RetryPolicy(min_backoff=Duration())
    await create_subscription(kernel, WORK, "orders", mode=mode, retry=at_once)
    await publish(kernel, ORDERS, *payloads("a", "b", "c", key=b"k"))
    async with Subscriber.of(kernel, WORK) as stream:
        if point >= 1:
            await stream.credit(2)
        records = await stream.records(2) if point >= 2 else []
        if point >= 3:
            await stream.ack(records[:1])
        if point >= 4:
            given_back = settlement(records[1], nak=pb.Nak())
            await stream.write(pb.SubscribeRequest(settle=pb.Settle(settlements=[given_back])))
        if way == "cancel":
            stream.call.cancel()
        else:
            *_, last = await stream.close()
            assert last.HasField("settled")
    await quiet(kernel)
    wanted = ["b", "c"] if point >= 3 else ["a", "b", "c"]
    got = await consumed(kernel, WORK, len(wanted))
    assert sorted(record.payload for record in got) == wanted
    if point >= 3:
        # It was delivered in vain where the consumer has vanished, or gave it back; not where it said goodbye.
        attempts = {record.payload: record.attempt for record in got}
        assert attempts == {"b": 1 if way == "half-close" and point == 3 else 2, "c": 1}


@pytest.mark.parametrize("mode", [1, 2], ids=["queue", "ordered"])
async def test_streams_end_with_the_kernel_and_what_was_delivered_was_not_in_vain(tmp_path: Path, mode: Any) -> None:
    for opening in range(2):
        async with running(tmp_path) as kernel:
            if not opening:
                await create_topic(kernel, ORDERS)
                await create_subscription(kernel, WORK, "orders", mode=mode)
                await publish(kernel, ORDERS, *payloads("a", "b"))
            async with (
                Subscriber.of(kernel, WORK) as stream,
                Subscriber.tail(kernel, "orders") as tail,
                Publisher(kernel) as publisher,
            ):
                await publisher.send(framed(pack_columns([b"c"]), producer_id="p", sequence=1))
                await stream.credit(3)
                assert [record.attempt for record in await stream.records(3)] == [1, 1, 1]
                await kernel.kernel.__aexit__(None, None, None)
                for each in (stream, tail, publisher):
                    assert await each.refusal() == (grpc.StatusCode.UNAVAILABLE, "KERNEL_STOPPING")
