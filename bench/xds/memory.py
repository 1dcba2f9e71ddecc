"""What a stream costs in memory where there are many services, of which an Envoy takes everything."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from sira.registry.v1 import registry_service_pb2 as registry
from sira.registry.v1.service_pb2 import Service

from bench.figures import Report
from bench.load import channels
from bench.processes import Server, launch, launch_kernel, serve
from bench.registry import messages
from bench.xds.ads_streams import METHOD
from bench.xds.envoy_streams import AT_ONCE, EnvoyStreams

SERVICES = 1_000
ENDPOINTS = 3
"""Of each service."""
STREAMS = 500
"""Each on a connection of its own, as those of Envoys are."""
SETTLE_SECONDS = 1.0


async def _register(kernel: Server) -> None:
    endpoints = [messages.endpoint(f"s{of}", number) for of in range(SERVICES) for number in range(ENDPOINTS)]
    async with channels(kernel.address, 1) as (channel,):
        call = channel.unary_unary(messages.REGISTRY + "RegisterEndpoints")
        for begin in range(0, len(endpoints), messages.PER_MESSAGE):
            await call(messages.register(endpoints[begin : begin + messages.PER_MESSAGE]))


def _policy(requests: int) -> bytes:
    """A change of a service that clusters are told of."""
    request = registry.UpdateServiceRequest(service=Service(name=messages.service("s0")))
    request.service.traffic_policy.circuit_breakers.max_requests = requests
    request.update_mask.paths.append("traffic_policy")
    return request.SerializeToString()


async def _held(server: Server, before: int, count: int) -> float:
    """Returns the memory a stream, in KiB, once nothing is under way any more."""
    await asyncio.sleep(SETTLE_SECONDS)
    return (server.resident_bytes() - before) / count / 1024


async def _ours(kernel: Server, *, delta: bool) -> tuple[float, float, EnvoyStreams]:
    """Returns the memory a stream, that after a change of a cluster that all are told of, and the streams, closed."""
    clusters = [f"s{number}.default" for number in range(SERVICES)]
    async with channels(kernel.address, 1) as (control,):
        async with channels(kernel.address, 1) as opened:
            first = EnvoyStreams(opened, clusters, delta=delta)
            await first.open(1)  # what all share is not part of what each costs
            await first.close()
        await asyncio.sleep(SETTLE_SECONDS)
        before = kernel.resident_bytes()
        async with channels(kernel.address, STREAMS) as opened:
            streams = EnvoyStreams(opened, clusters, delta=delta)
            await streams.open(STREAMS)
            held = await _held(kernel, before, STREAMS)
            await control.unary_unary(messages.REGISTRY + "UpdateService")(_policy(1_000 + delta))
            await streams.acknowledged(2 * STREAMS)  # the clusters, and the endpoints of the one that has changed
            changed = await _held(kernel, before, STREAMS)
            await streams.close()
    return held, changed, streams


async def _floor(bare: Server, size: int, pushed: int) -> tuple[float, float]:
    """Returns the memory a stream of a server that only moves as many bytes, and that after a push to all at once."""
    opening = asyncio.Semaphore(AT_ONCE)
    async with channels(bare.address, 1) as (control,), channels(bare.address, STREAMS) as opened:
        await control.unary_unary("/bare.Bare/Load")(bytes(size))
        before = bare.resident_bytes()

        async def one(number: int) -> Any:
            async with opening:
                call = opened[number].stream_stream(METHOD)()
                await call.write(b"")
                await call.read()
                await call.write(b"")
            return call

        calls = await asyncio.gather(*(one(number) for number in range(STREAMS)))
        held = await _held(bare, before, STREAMS)
        await control.unary_unary("/bare.Bare/Load")(bytes(pushed))
        await control.unary_unary("/bare.Bare/Push")(b"")
        await asyncio.gather(*(_again(call) for call in calls))
        changed = await _held(bare, before, STREAMS)
        for call in calls:
            call.cancel()
    return held, changed


async def _again(call: Any) -> None:
    await call.read()
    await call.write(b"")


async def run(report: Report, folder: Path) -> None:
    """Measures streams of Envoys, in both forms of the protocol, each with a kernel of its own."""
    for delta in (False, True):
        data = folder / ("delta" if delta else "sotw")
        data.mkdir()
        async with serve(launch_kernel(str(data))) as kernel:
            await _register(kernel)
            held, changed, streams = await _ours(kernel, delta=delta)
        async with serve(launch([sys.executable, "-m", "bench.xds.bare_ads"])) as bare:
            floor, floor_changed = await _floor(bare, streams.bytes, streams.pushed)
        name = f"memory a stream of an Envoy, {'delta' if delta else 'state of the world'}, {SERVICES:,} services"
        report.add(name, held, "KiB", baseline=floor, at_most=100)
        report.add(f"{name}, after a change of a cluster", changed, "KiB", baseline=floor_changed, at_most=100)
