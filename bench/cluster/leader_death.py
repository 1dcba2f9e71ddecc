"""The store's leader is killed: how long writes stand still, what is lost, and what a program notices of it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from sira_client import connect_insecure

from bench.cluster.stage import DURABILITY, Stage, staged
from bench.cluster.traffic import Traffic, traffic
from bench.figures import Report
from sira_grpc.store.nats_names import Names

KILLS = 3
ASK_SECONDS = 0.1
STATE = Names("sira").state


async def run(report: Report, folder: Path) -> None:
    """A program writes, publishes and consumes through the client library, over three deaths."""
    async with (
        staged(folder, members=2) as stage,
        connect_insecure(stage.addresses) as client,
        traffic(client) as going,
    ):
        still = [await _kill_leader(stage, going) for _ in range(KILLS)]
    without, writing, publishing = (max(times) for times in zip(*still, strict=True))
    report.add(f"store's leader killed: the store has another one, worst of {KILLS}", without, "s")
    for title, worst in (("writes", writing), ("publishing", publishing)):
        report.add(f"store's leader killed: {title} resume, worst", worst, "s", baseline=without, at_most=6)
    report.add("store's leader killed: records lost", going.lost, "records", durability=DURABILITY, at_most=0)
    report.add("store's leader killed: records duplicated", going.duplicated, "records", at_most=0)
    report.add("store's leader killed: exceptions of the client library", len(going.exceptions), "", at_most=0)
    for error in going.exceptions:
        report.say(f"  {error!r}")


async def _kill_leader(stage: Stage, going: Traffic) -> tuple[float, float, float]:
    """Returns for how long the store had no leader, and writes, and publishing, stood still, seconds."""
    await going.once_more()
    leader = await stage.nodes.stream_leader(STATE)
    if leader is None:
        raise RuntimeError("the store has no leader")
    going.forget()
    begun = time.perf_counter()
    await leader.kill()
    while await stage.nodes.stream_leader(STATE) in (None, leader):  # noqa: ASYNC110 - it has to be asked
        await asyncio.sleep(ASK_SECONDS)
    without = time.perf_counter() - begun
    await going.once_more()
    still = without, going.stood_still("writing"), going.stood_still("publishing")
    await leader.start()
    await stage.nodes.ready()
    return still
