"""Latencies at steady rates, from when a record is handed to the client: to its ack, and to its delivery.

Whoever sets the pace never waits for the bus: a record that has to wait for the one before counts that wait too. The
timers of the event loop are a millisecond coarse.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sira_client.frames import pack_columns

from bench.bus import messages
from bench.bus.consumer import Consumer
from bench.bus.publisher import Publisher
from bench.figures import Report, percentile
from bench.load import channels
from bench.processes import Server, launch_kernel, serve

SINGLES_A_SECOND = 1_000
WARM_SECONDS = 2.0
SECONDS = 6.0
TICK = 0.001

BULK_A_SECOND = 20_000
BULK_RECORD_BYTES = 1_024
LINGER = 0.0025
"""Seconds that the client gathers records for a frame: 50 of them."""
BULK_SECONDS = 8.0
WINDOW = 1_024
"""Frames in flight: far more than there are at these rates."""


async def run(report: Report, folder: Path) -> None:
    """A thousand records a second one by one, and twenty thousand of 1 KB in frames."""
    async with serve(launch_kernel(str(folder / "kernel"))) as kernel:
        await messages.prepare(kernel, "paced", "paced")
        async with (
            channels(kernel.address, 2) as (publishing, consuming),
            Paced(publishing, consuming, "paced", topic="paced") as paced,
        ):
            await paced.run(WARM_SECONDS)
            acks, deliveries = await paced.run(SECONDS)
        title = f"{SINGLES_A_SECOND} records/s, one a frame, one stream: "
        synced = messages.SYNCED
        report.add(title + "ack p50", percentile(acks, 0.5) * 1e3, "ms", durability=synced, at_most=2)
        report.add(title + "ack p99", percentile(acks, 0.99) * 1e3, "ms", durability=synced, at_most=12)
        seen = "fdatasync before the delivery"
        report.add(title + "delivery p50", percentile(deliveries, 0.5) * 1e3, "ms", durability=seen, at_most=3)
        report.add(title + "delivery p99", percentile(deliveries, 0.99) * 1e3, "ms", durability=seen)
        await _bulk(report, kernel)


class Paced:
    """A producer of single records at a steady rate, and the consumer that acknowledges them.

    Args:
        publishing, consuming: channels of grpc.aio.
        subscription: without its namespace.
        topic: likewise.

    Attributes:
        consumer: what has come so far.
    """

    def __init__(self, publishing: Any, consuming: Any, subscription: str, *, topic: str) -> None:
        self._publishing = publishing
        self._topic = topic
        self._sent: list[float] = []
        self._acks: list[float] = []
        self._deliveries: list[float] = []
        self.consumer = Consumer(consuming, subscription, self._delivered)

    async def __aenter__(self) -> Self:
        await self.consumer.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.consumer.__aexit__(kind, error, trace)

    async def run(self, seconds: float) -> tuple[list[float], list[float]]:
        """Publishes for a time and returns the seconds to each ack and to each delivery."""
        count = round(seconds * SINGLES_A_SECOND)
        self._sent, self._acks, self._deliveries = [], [], []
        (payload,) = messages.payloads(1)
        settled = self.consumer.settled
        queue: asyncio.Queue[tuple[int, float]] = asyncio.Queue(count)
        pace = asyncio.create_task(self._pace(queue, count))
        try:
            async with Publisher(self._publishing, self._topic, WINDOW, self._acked) as publisher:
                for _ in range(count):
                    number, stamp = await queue.get()
                    await publisher.send(pack_columns([messages.numbered(number, payload)]), 1, stamp)
        finally:
            pace.cancel()
        await self.consumer.until_settled(settled + count)
        return self._acks, self._deliveries

    async def _pace(self, queue: asyncio.Queue[tuple[int, float]], count: int) -> None:
        begun = time.perf_counter()
        while len(self._sent) < count:
            now = time.perf_counter()
            due = min(count, int((now - begun) * SINGLES_A_SECOND) + 1)
            for number in range(len(self._sent), due):
                self._sent.append(now)
                queue.put_nowait((number, now))
            await asyncio.sleep(TICK)

    def _acked(self, stamp: float) -> None:
        self._acks.append(time.perf_counter() - stamp)

    def _delivered(self, payload: bytes) -> None:
        number = messages.number_of(payload)
        if number != messages.UNPACED:
            self._deliveries.append(time.perf_counter() - self._sent[number])


async def _bulk(report: Report, kernel: Server) -> None:
    """Frames that a client fills for a while; a record's time runs from when it came, before its frame was sent."""
    await messages.prepare(kernel, "bulk")
    each = round(BULK_A_SECOND * LINGER)
    payloads = messages.payloads(each, size=BULK_RECORD_BYTES)
    latencies: list[float] = []

    def acked(first: float) -> None:
        waited = time.perf_counter() - first
        latencies.extend(waited - number / BULK_A_SECOND for number in range(each))

    frames = round(BULK_SECONDS / LINGER)
    async with channels(kernel.address, 1) as (channel,):
        async with Publisher(channel, "bulk", WINDOW, acked) as publisher:
            used, begun = kernel.cpu_seconds(), time.perf_counter()
            for number in range(frames):
                first = begun + number * LINGER
                await _sleep_until(first + LINGER)
                await publisher.send(pack_columns(payloads), each, first)
        share = (kernel.cpu_seconds() - used) / (time.perf_counter() - begun)
    title = f"{BULK_A_SECOND} records/s of 1 KB, frames of {each}, linger of {LINGER * 1e3:g} ms included: "
    synced = messages.SYNCED
    report.add(title + "ack p50", percentile(latencies, 0.5) * 1e3, "ms", durability=synced, at_most=4)
    report.add(title + "ack p99", percentile(latencies, 0.99) * 1e3, "ms", durability=synced)
    report.add(title + "server", share, "cores", durability=synced, at_most=0.5)


async def _sleep_until(due: float) -> None:
    """Returns when the performance counter has come so far, and not before: timers may fire early."""
    while True:
        left = due - time.perf_counter()
        if left <= 0:
            return
        await asyncio.sleep(max(left, TICK))
