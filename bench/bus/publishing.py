"""What can be published in a second, in frames large and small, beside the floor.

Kernel and floor get the same: one client process, one stream (or 64 unary calls over four connections), the same
frames, made anew from their records each time, and as many of them in flight. They are measured in turn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sira.bus.v1.publish_service_pb2 import PublishRequest
from sira.bus.v1.publish_service_pb2_grpc import PublishServiceStub
from sira.bus.v1.record_pb2 import Record
from sira_client.frames import pack_columns

from bench.bus import floor, messages
from bench.bus.publisher import flood, for_seconds
from bench.figures import Report, median
from bench.load import channels, closed_loop
from bench.processes import Server, launch_kernel, serve

ROUNDS = 5
SECONDS = 1.5
WARM_SECONDS = 0.5
TOPIC = "published"
STREAMS = (
    ("published, 1,000 records a frame", 1_000, 16, 500_000),
    ("published, 100 records a frame", 100, 64, 200_000),
    ("published, one record a frame, on one stream", 1, 256, 4_000),
)
"""Title, records a frame, frames in flight and records a second asked for."""
UNARY_CALLS = 2_500
UNARY_CONCURRENCY = 64
UNARY_CHANNELS = 4
RATIO = 0.75

Measure = Callable[[Server], Awaitable[float]]


async def run(report: Report, folder: Path) -> None:
    """All sizes of frames, then unary calls."""
    async with serve(launch_kernel(str(folder / "kernel"))) as kernel, serve(floor.start(folder / "floor")) as bare:
        await messages.prepare(kernel, TOPIC)
        for title, records, window, at_least in STREAMS:
            await _compare(report, title, kernel, bare, _stream(records, window), at_least)
        await _compare(report, "published, one record a unary call", kernel, bare, _unary, 1_400)


async def _compare(report: Report, title: str, kernel: Server, bare: Server, measure: Measure, at_least: float) -> None:
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(await measure(kernel))
        theirs.append(await measure(bare))
    report.add(
        title,
        median(ours),
        "records/s",
        durability=f"{messages.SYNCED}, both",
        baseline=median(theirs),
        at_least=at_least,
        ratio_at_least=RATIO,
    )


def _stream(records: int, window: int) -> Measure:
    """Frames on one stream, each made of its records when it is sent."""
    payloads = messages.payloads(records)

    def make() -> bytes:
        return pack_columns(payloads)

    async def measure(server: Server) -> float:
        async with channels(server.address, 1) as (channel,):
            await flood(channel, TOPIC, make, records=records, window=window, until=for_seconds(WARM_SECONDS))
            return await flood(channel, TOPIC, make, records=records, window=window, until=for_seconds(SECONDS))

    return measure


async def _unary(server: Server) -> float:
    """Calls of many callers, of one record each."""
    (payload,) = messages.payloads(1)
    async with channels(server.address, UNARY_CHANNELS) as opened:
        stubs: list[Any] = [PublishServiceStub(channel) for channel in opened]

        async def call(number: int) -> None:
            request = PublishRequest(topic=messages.topic(TOPIC), records=[Record(payload=payload)])
            await stubs[number % UNARY_CHANNELS].Publish(request)

        await closed_loop(call, concurrency=UNARY_CONCURRENCY, calls=UNARY_CALLS // 5)
        return (await closed_loop(call, concurrency=UNARY_CONCURRENCY, calls=UNARY_CALLS)).rate
