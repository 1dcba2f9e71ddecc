"""How long a dead endpoint stays in resolution."""

from __future__ import annotations

import sys
import time
from typing import Any

from sira.registry.v1 import registry_service_pb2 as registry
from sira.registry.v1 import resolver_service_pb2 as resolver

from bench.figures import Report, percentile
from bench.load import channels
from bench.processes import Server, launch
from bench.registry import messages

DEATHS = 15
TTL = 1


async def _gone(channel: Any, service: str, name: str) -> float:
    """Resolves over and over until an endpoint is out, and returns when it was."""
    call = channel.unary_unary(messages.RESOLVER + "Resolve", response_deserializer=resolver.ResolveResponse.FromString)
    while True:
        answer: resolver.ResolveResponse = await call(messages.resolve(service))
        if all(found.name != name for found in answer.endpoints):
            return time.perf_counter()


async def run(report: Report, kernel: Server, bare: Server) -> None:
    """Kills processes that hold their lease by a stream; lets leases lapse that unary calls renewed."""
    async with channels(kernel.address, 1) as (channel,):
        register = channel.unary_unary(
            messages.REGISTRY + "RegisterEndpoints",
            response_deserializer=registry.RegisterEndpointsResponse.FromString,
        )
        await register(messages.register([messages.endpoint("mortal", 0)]))
        times = []
        for number in range(1, DEATHS + 1):
            holder = await launch([sys.executable, "-m", "bench.registry.holder", kernel.address, str(number)])
            begun = time.perf_counter()
            holder.process.kill()
            times.append(await _gone(channel, "mortal", messages.endpoint("mortal", number).name) - begun)
            await holder.process.wait()
        report.add("death to out of resolution, lease held by a stream, worst", max(times) * 1e3, "ms", at_most=1000)
        await register(messages.register([messages.endpoint("lapsing", 0)]))
        late = []
        for number in range(1, DEATHS + 1):
            begun = time.perf_counter()
            await register(messages.register([messages.endpoint("lapsing", number)], ttl=TTL))
            late.append(await _gone(channel, "lapsing", messages.endpoint("lapsing", number).name) - begun - TTL)
        report.add(
            "last renewal to out of resolution, beyond the TTL, worst", percentile(late, 1) * 1e3, "ms", at_most=1000
        )
