"""How soon a registration on one member is seen by a watcher on another."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from grpc import aio
from sira.registry.v1 import registry_service_pb2 as registry
from sira.registry.v1.resolver_service_pb2 import WatchRequest
from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceStub

from bench.cluster.stage import DURABILITY, staged
from bench.figures import Report, median, percentile
from bench.load import channels
from bench.registry import messages

REGISTRATIONS = 1_000
WARM = 50
PAUSE_SECONDS = 0.005
SERVICE = "seen"


async def run(report: Report, folder: Path) -> None:
    """One registration after the other on the first member of three, and a watch on the last."""
    async with (
        staged(folder, members=3) as stage,
        channels(stage.members[0].address, 1) as (writing,),
        channels(stage.members[2].address, 1) as (watching,),
    ):
        times = await _measure(writing, watching)
    durability = f"{DURABILITY}, of the registration"
    report.add("registered to seen by a watcher on another member, p50", median(times), "ms", durability=durability)
    report.add(
        "registered to seen by a watcher on another member, p99",
        percentile(times, 0.99),
        "ms",
        durability=durability,
        at_most=30,
    )


async def _measure(writing: Any, watching: Any) -> list[float]:
    """Returns the milliseconds from each call to the message of the watch that tells of it."""
    register = writing.unary_unary(
        messages.REGISTRY + "RegisterEndpoints", response_deserializer=registry.RegisterEndpointsResponse.FromString
    )
    first = await register(messages.register([messages.endpoint(SERVICE, 0)]))
    seen: asyncio.Queue[tuple[str, float]] = asyncio.Queue()
    call: Any = ResolverServiceStub(watching).Watch(
        WatchRequest(service=messages.service(SERVICE)), wait_for_ready=True
    )

    async def read() -> None:
        while (response := await call.read()) is not aio.EOF:
            for endpoint in response.changes.upserted:
                await seen.put((endpoint.name, time.perf_counter()))

    await call.read()
    reading = asyncio.create_task(read())
    times = []
    for number in range(1, WARM + REGISTRATIONS + 1):
        endpoint = messages.endpoint(SERVICE, number)
        begun = time.perf_counter()
        await register(messages.register([endpoint], lease_key=first.lease_key))
        while (found := await seen.get())[0] != endpoint.name:
            pass
        times.append((found[1] - begun) * 1e3)
        await asyncio.sleep(PAUSE_SECONDS)
    call.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    return times[WARM:]
