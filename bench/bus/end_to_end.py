"""Records a second that are published, delivered and acknowledged one by one, all of it at the same time."""

from __future__ import annotations

import time
from pathlib import Path

from sira_client.frames import pack_columns

from bench.bus import messages
from bench.bus.consumer import Consumer
from bench.bus.publisher import Publisher
from bench.figures import Report, median
from bench.load import channels
from bench.processes import Server, launch_kernel, serve

ROUNDS = 3
SECONDS = 2.5
RECORDS = 1_000
WINDOW = 16
NAME = "end-to-end"


async def run(report: Report, folder: Path) -> None:
    """One producer and one consumer, in one client process. The default limit of outstanding records applies."""
    async with serve(launch_kernel(str(folder / "kernel"))) as kernel:
        await messages.prepare(kernel, NAME, NAME)
        rates = [await _measure(kernel) for _ in range(ROUNDS)]
    report.add(
        "published, delivered and acknowledged, 1,000 records a frame",
        median(rates),
        "records/s",
        durability=f"{messages.SYNCED}, of publishers and of consumers",
        at_least=250_000,
    )


async def _measure(kernel: Server) -> float:
    """Publishes for a while and returns the records a second, from the first frame to the last acknowledgement."""
    payloads = messages.payloads(RECORDS)
    expected = set(range(RECORDS))
    seen: list[int] = []
    async with (
        channels(kernel.address, 2) as (publishing, consuming),
        Consumer(consuming, NAME, lambda payload: seen.append(messages.number_of(payload))) as consumer,
    ):
        begun, frames = time.perf_counter(), 0
        async with Publisher(publishing, NAME, WINDOW) as publisher:
            while time.perf_counter() < begun + SECONDS:
                await publisher.send(pack_columns(payloads), RECORDS)
                frames += 1
        await consumer.until_settled(frames * RECORDS)
        took = time.perf_counter() - begun
    if len(seen) != frames * RECORDS or set(seen) != expected:
        raise RuntimeError(f"{len(seen)} of {frames * RECORDS} records were delivered")
    return frames * RECORDS / took
