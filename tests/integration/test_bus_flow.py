"""Publishers that are faster than they may be: they are slowed, or told so, and nothing of theirs is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
from grpc import aio
from sira.bus.v1.publish_service_pb2 import PublishFramesRequest
from sira.bus.v1.publish_service_pb2_grpc import PublishServiceStub
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.topic_pb2 import TopicLimits
from sira_client.frames import checksum, pack_columns

from tests.integration.bus_kernel import BusKernel, running, topic_name
from tests.integration.registry_kernel import refusal

TOPIC = "flow.topic"
FRAMES = 12_000
PAYLOAD_BYTES = 4096
GROWTH_BYTES = 64 << 20
SECONDS = 120
"""After which a test gives up."""
WINDOW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16 << 10)]
"""Answers that are on their way to the publisher: gRPC would let more and more of them come, as the line is fast."""
STILL = 50
"""Calls that are answered while nothing more is taken from a publisher, after which it is held to be stopped."""


def request(number: int, size: int = PAYLOAD_BYTES) -> PublishFramesRequest:
    data = pack_columns([str(number).encode().ljust(size)])
    return PublishFramesRequest(topic=topic_name(TOPIC), frame=data, checksum=checksum(data))


class Hasty:
    """A publisher that sends and sends, and does not look at the answers."""

    def __init__(self, channel: aio.Channel) -> None:
        stub: Any = PublishServiceStub(channel)
        self.call = stub.PublishFrames()
        self.sent = 0

    async def send(self) -> None:
        for number in range(FRAMES):
            await self.call.write(request(number))
            self.sent = number + 1
        await self.call.done_writing()

    async def stopped(self, kernel: BusKernel) -> None:
        """Returns when it cannot send any more."""
        still, before = 0, -1
        while still < STILL:
            still = still + 1 if self.sent == before else 0
            before = self.sent
            await kernel.topic(TOPIC)


async def test_a_publisher_that_does_not_read_the_answers_is_stopped_and_loses_nothing(tmp_path: Path) -> None:
    little = {"SIRA_BUS_CACHE_BYTES": str(1 << 20)}  # so that all that grows is what is under way
    async with (
        asyncio.timeout(SECONDS),
        running(tmp_path, environment=little) as kernel,
        aio.insecure_channel(kernel.address, options=WINDOW) as channel,
    ):
        await kernel.create_topic(TOPIC)
        await kernel.publish(TOPIC, [Record(payload=b"first")])
        before = kernel.resident
        hasty = Hasty(channel)
        sending = asyncio.create_task(hasty.send())
        await hasty.stopped(kernel)
        print(f"stopped after {hasty.sent} frames, grown by {(kernel.resident - before) / (1 << 20):.1f} MiB")
        assert not sending.done()
        assert kernel.resident - before <= GROWTH_BYTES
        for number in range(FRAMES):
            assert (await hasty.call.read()).offset == number + 1
        await sending
        assert await hasty.call.read() is aio.EOF
        assert (await kernel.topic(TOPIC)).status.partitions[0].next_offset == FRAMES + 1


async def test_a_publisher_beyond_its_quota_is_slowed_on_a_stream_and_refused_otherwise(tmp_path: Path) -> None:
    rate = 200
    async with asyncio.timeout(SECONDS), running(tmp_path) as kernel, kernel.connect() as channel:
        await kernel.create_topic(TOPIC, limits=TopicLimits(records_per_second=rate))
        stub: Any = PublishServiceStub(channel)
        call = stub.PublishFrames()
        for number in range(2 * rate):
            await call.write(request(number, 16))
        # Its second is used up, and another one with what it has sent ahead.
        assert await refusal(kernel.publish(TOPIC, [Record(payload=b"more")] * rate)) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "LIMIT_EXCEEDED",
        )
        await call.done_writing()
        for number in range(2 * rate):
            assert (await call.read()).offset == number
        assert await call.read() is aio.EOF
