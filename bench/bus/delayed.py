"""A million scheduled records, a kernel that is killed with them, and how late those are that come due afterwards."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bench.bus import messages
from bench.bus.consumer import Consumer
from bench.bus.publisher import Publisher, flood, for_frames
from bench.figures import Report, percentile
from bench.load import channels
from bench.processes import launch_kernel, serve
from bench.registry.scale import start

FAR = 1_000_000
FAR_NS = 3_600 * 10**9
RECORDS = 1_000
WINDOW = 16
NEAR = 2_000
SPREAD_SECONDS = 10
LEAD_SECONDS = 8
"""From publishing to the first one that is due: the kernel is killed and started again in it."""
NAME = "delayed"


async def run(report: Report, folder: Path) -> None:
    """A million are due in an hour; two thousand more within some seconds, and these are measured."""
    data, synced = str(folder / "kernel"), messages.SYNCED
    async with serve(launch_kernel(data)) as server:
        await messages.prepare(server, NAME, NAME)
        async with channels(server.address, 1) as (channel,):
            rate = await _schedule_far(channel)
            due = await _schedule_near(channel)
        await server.kill()
    report.add("scheduled an hour ahead, 1,000 records a frame", rate, "records/s", durability=synced)
    server, took = await start(data)
    report.add(f"restart with {FAR} scheduled records to SERVING, after kill -9", took, "s")
    try:
        lateness = await _lateness(server.address, due)
    finally:
        await server.stop()
    title = f"of {FAR} scheduled, {NEAR} come due in {SPREAD_SECONDS} s after a kill -9: "
    for name, share, at_most in (("p50", 0.5, None), ("p99", 0.99, 100), ("most", 1.0, None)):
        value = percentile(lateness, share) * 1e3
        report.add(f"{title}late, {name}", value, "ms", durability=synced, at_most=at_most)
    early = sum(late < 0 for late in lateness)
    report.add(title + "too early", early, "records", durability=synced, at_most=0)


async def _schedule_far(channel: Any) -> float:
    payloads = [messages.numbered(messages.UNPACED, payload) for payload in messages.payloads(RECORDS)]
    frame = messages.scheduled_frame(payloads, [time.time_ns() + FAR_NS] * RECORDS)
    until = for_frames(FAR // RECORDS)
    return await flood(channel, NAME, lambda: frame, records=RECORDS, window=WINDOW, until=until)


async def _schedule_near(channel: Any) -> list[int]:
    """Schedules the near ones, not in the order of their times, and returns when each is due, Unix nanoseconds."""
    step = SPREAD_SECONDS * 10**9 // NEAR
    begin = time.time_ns() + LEAD_SECONDS * 10**9
    due = [begin + number * 7 % NEAR * step for number in range(NEAR)]
    payloads = messages.payloads(NEAR)
    async with Publisher(channel, NAME, WINDOW) as publisher:
        for at in range(0, NEAR, RECORDS):
            frame = messages.scheduled_frame(payloads[at : at + RECORDS], due[at : at + RECORDS])
            await publisher.send(frame, RECORDS)
    return due


async def _lateness(address: str, due: list[int]) -> list[float]:
    """Consumes them and returns by how many seconds each was late."""
    late: dict[int, float] = {}

    def delivered(payload: bytes) -> None:
        number = messages.number_of(payload)
        late[number] = (time.time_ns() - due[number]) / 1e9

    async with channels(address, 1) as (channel,), Consumer(channel, NAME, delivered) as consumer:
        await consumer.until_settled(NEAR)
    if len(late) != NEAR:
        raise RuntimeError(f"{len(late)} of {NEAR} records were delivered")
    return list(late.values())
