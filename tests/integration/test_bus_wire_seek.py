"""Where subscriptions are, over the wire: pause and resume, seek, and where they begin."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sira.bus.v1 import subscription_service_pb2 as pb
from sira.bus.v1.subscription_pb2 import PartitionOffset, StartPosition, SubscriptionMode

from tests.clocks import FakeClock
from tests.integration.bus_stream import Got, Subscriber, settlement
from tests.integration.bus_world import (
    ORDERS,
    WORK,
    create_subscription,
    create_topic,
    payloads,
    publish,
    running,
    subscriptions,
)
from tests.integration.registry_kernel import Running

QUEUE, ORDERED = SubscriptionMode.SUBSCRIPTION_MODE_QUEUE, SubscriptionMode.SUBSCRIPTION_MODE_ORDERED
BOTH = pytest.mark.parametrize("mode", [QUEUE, ORDERED], ids=["queue", "ordered"])
ACK = pb.Ack()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def kernel(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Running]:
    async with running(tmp_path, clock=clock) as made:
        await create_topic(made, ORDERS)
        yield made
        assert not made.kernel.failed


def told(records: list[Got]) -> list[tuple[str, int]]:
    """Payloads and attempts."""
    return [(record.payload, record.attempt) for record in records]


@BOTH
async def test_pause_stops_delivery_and_resume_goes_on(kernel: Running, mode: Any) -> None:
    await create_subscription(kernel, WORK, "orders", mode=mode)
    await publish(kernel, ORDERS, *payloads(*"ab"))
    stub = subscriptions(kernel)
    async with Subscriber.of(kernel, WORK) as stream:
        await stream.credit(1)
        (first,) = await stream.records(1)
        paused = await stub.PauseSubscription(pb.PauseSubscriptionRequest(name=WORK))
        assert paused.subscription.paused
        await stream.credit(10)
        await stream.ack([first])
        await stream.nothing_more()
        resumed = await stub.ResumeSubscription(pb.ResumeSubscriptionRequest(name=WORK))
        assert not resumed.subscription.paused
        assert told(await stream.records(1)) == [("b", 1)]


async def published_in_turn(kernel: Running, clock: FakeClock) -> list[Timestamp]:
    """Publishes a to e, a minute apart, and returns when."""
    times = []
    for text in "abcde":
        now = clock.time_ns()
        times.append(Timestamp(seconds=now // 1_000_000_000))
        await publish(kernel, ORDERS, *payloads(text))
        clock.advance(60)
    return times


@BOTH
@pytest.mark.parametrize(
    ("kind", "wanted"), [("earliest", "abcde"), ("latest", ""), ("time", "de"), ("offset", "cde"), ("beyond", "")]
)
async def test_seek_moves_a_subscription(kernel: Running, clock: FakeClock, mode: Any, kind: str, wanted: str) -> None:
    await create_subscription(kernel, WORK, "orders", mode=mode)
    times = await published_in_turn(kernel, clock)
    position = {
        "earliest": StartPosition(earliest=StartPosition.Earliest()),
        "latest": StartPosition(latest=StartPosition.Latest()),
        "time": StartPosition(time=times[3]),
        "offset": StartPosition(offset=PartitionOffset(topic="orders", offset=2)),
        "beyond": StartPosition(offset=PartitionOffset(topic="orders", offset=1 << 62)),
    }[kind]
    async with Subscriber.of(kernel, WORK) as stream:
        await stream.credit(3)
        before = await stream.records(3)
        await stream.ack(before[:1])
        answer = await subscriptions(kernel).SeekSubscription(pb.SeekSubscriptionRequest(name=WORK, position=position))
        assert answer.status.lag == len(wanted)
        assert answer.status.partitions[0].settled_offset == 5 - len(wanted)
        # What was with the consumer is not its to settle any more.
        assert len((await stream.settle(settlement(*before, ack=ACK))).stale) == 3
        await stream.credit(10)
        assert told(await stream.records(len(wanted))) == [(text, 1) for text in wanted]
        await stream.nothing_more()
        await publish(kernel, ORDERS, *payloads("f"))
        assert told(await stream.records(1)) == [("f", 1)]


@pytest.mark.parametrize(("kind", "wanted"), [("earliest", "abcde"), ("latest", ""), ("time", "cde"), ("offset", "e")])
async def test_a_subscription_begins_where_it_is_told(
    kernel: Running, clock: FakeClock, kind: str, wanted: str
) -> None:
    times = await published_in_turn(kernel, clock)
    start = {
        "earliest": StartPosition(earliest=StartPosition.Earliest()),
        "latest": StartPosition(latest=StartPosition.Latest()),
        "time": StartPosition(time=times[2]),
        "offset": StartPosition(offset=PartitionOffset(topic="orders", offset=4)),
    }[kind]
    created = await create_subscription(kernel, WORK, "orders", start=start)
    assert created.status.lag == len(wanted)
    async with Subscriber.of(kernel, WORK) as stream:
        await stream.credit(10)
        await publish(kernel, ORDERS, *payloads("f"))
        assert told(await stream.records(len(wanted) + 1)) == [(text, 1) for text in f"{wanted}f"]
