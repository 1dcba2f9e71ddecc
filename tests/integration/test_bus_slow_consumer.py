"""Consumers that ask for everything and never read, in front of a backlog: the kernel's memory stays what it was."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from sira.bus.v1 import subscription_service_pb2 as pb
from sira.bus.v1.publish_service_pb2 import PublishFramesRequest
from sira.bus.v1.publish_service_pb2_grpc import PublishServiceStub
from sira.bus.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from sira_client.frames import FrameReader, checksum, pack_columns

from tests.integration.bus_kernel import NAMESPACE, BusKernel, running, subscription_name, topic_name
from tests.integration.bus_loads import ORDERED
from tests.integration.bus_tail import CREDIT

TOPIC = "slow.topic"
FRAMES = 240
RECORDS = 1000
PAYLOAD_BYTES = 128
KEYS = 100
IN_FLIGHT = 8
GROWTH_BYTES = 64 << 20
SECONDS = 120
"""After which the test gives up."""


def frame(number: int) -> bytes:
    """A frame whose records say which they are."""
    first = number * RECORDS
    return pack_columns(
        [str(first + place).encode().ljust(PAYLOAD_BYTES) for place in range(RECORDS)],
        keys=[f"key-{place % KEYS}".encode() for place in range(RECORDS)],
    )


async def publish(kernel: BusKernel, frames: range) -> None:
    async with kernel.connect() as channel:
        stub: Any = PublishServiceStub(channel)
        call = stub.PublishFrames()
        sent = deque[int]()
        for number in frames:
            data = frame(number)
            await call.write(PublishFramesRequest(topic=topic_name(TOPIC), frame=data, checksum=checksum(data)))
            sent.append(number)
            if len(sent) == IN_FLIGHT:
                assert (await call.read()).offset == sent.popleft() * RECORDS
        while sent:
            assert (await call.read()).offset == sent.popleft() * RECORDS
        await call.done_writing()


async def subscribe(stack: AsyncExitStack, kernel: BusKernel, opening: pb.OpenSubscription) -> Any:
    """Opens a stream over a connection of its own, and grants as much as there can be."""
    channel = await stack.enter_async_context(kernel.connect())
    stub: Any = SubscriptionServiceStub(channel)
    call = stub.Subscribe()
    await call.write(pb.SubscribeRequest(open=opening))
    await call.write(pb.SubscribeRequest(credit=CREDIT))
    return call


async def read_all(call: Any, count: int) -> None:
    """Reads and acknowledges everything, which comes in order."""
    seen = 0
    while seen < count:
        response = await call.read()
        if not response.HasField("delivery"):
            continue
        delivery = response.delivery
        assert delivery.base_offset == seen
        assert FrameReader(delivery.frame).payload(0).strip() == str(seen).encode()
        end = seen + RECORDS
        settlement = pb.Settlement(topic=TOPIC, ranges=[pb.OffsetRange(first=seen, end=end)])
        settlement.ack.SetInParent()
        await call.write(pb.SubscribeRequest(settle=pb.Settle(settlements=[settlement])))
        seen = end


async def stalled(kernel: BusKernel, *subscriptions: str) -> None:
    """Returns when as much is on its way to consumers that do not read as there can be."""
    before, now = None, list[int]()
    while now != before or not all(now):
        before, now = now, []
        for subscription in subscriptions:
            status = (await kernel.subscription(subscription)).status
            now.append(status.partitions[0].outstanding)


async def test_a_consumer_that_never_reads_costs_no_memory_and_holds_up_nobody(tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), running(tmp_path) as kernel, AsyncExitStack() as stack:
        await kernel.create_topic(TOPIC)
        await kernel.create_subscription("queue", TOPIC)
        await kernel.create_subscription("ordered", TOPIC, mode=ORDERED)
        await kernel.create_subscription("reader", TOPIC)
        await publish(kernel, range(FRAMES))  # fills what the kernel keeps of the newest frames
        before = kernel.resident
        tail = pb.Tail(parent=NAMESPACE, topics=[TOPIC])
        tail.start.earliest.SetInParent()
        for name in ("queue", "ordered"):
            await subscribe(stack, kernel, pb.OpenSubscription(subscription=subscription_name(name)))
        await subscribe(stack, kernel, pb.OpenSubscription(tail=tail))
        await publish(kernel, range(FRAMES, 2 * FRAMES))
        await stalled(kernel, "queue", "ordered")
        reader = await subscribe(stack, kernel, pb.OpenSubscription(subscription=subscription_name("reader")))
        await read_all(reader, 2 * FRAMES * RECORDS)
        await kernel.drained("reader")
        grown = kernel.resident - before
        print(f"{2 * FRAMES * RECORDS} records, grown by {grown / (1 << 20):.1f} MiB")
        assert grown <= GROWTH_BYTES
        for name in ("queue", "ordered"):
            assert (await kernel.subscription(name)).status.lag == 2 * FRAMES * RECORDS
