"""Ten thousand leases held by idle streams: what they cost."""

from __future__ import annotations

import asyncio
import time

from sira.registry.v1 import registry_service_pb2 as registry

from bench.figures import Report
from bench.load import channels
from bench.processes import Server
from bench.registry import messages

COUNT = 10_000
CHANNELS = 100
IDLE_SECONDS = 20


async def held(report: Report, kernel: Server, bare: Server) -> None:
    """Opens the streams, lets them be, and looks at the processor time of the kernel."""
    async with channels(kernel.address, CHANNELS) as opened:
        streams = []
        for number in range(COUNT):
            stream = opened[number % CHANNELS].stream_stream(messages.REGISTRY + "HoldLease")()
            request = registry.HoldLeaseRequest(endpoints=[messages.endpoint("held", number)])
            request.allow_missing_service = True
            await stream.write(request.SerializeToString())
            streams.append(stream)
        for stream in streams:
            await stream.read()
        await asyncio.sleep(1)
        used, begun = kernel.cpu_seconds(), time.perf_counter()
        await asyncio.sleep(IDLE_SECONDS)
        share = (kernel.cpu_seconds() - used) / (time.perf_counter() - begun)
        report.add(f"{COUNT} leases held by idle streams", share * 100, "% of a core", at_most=5)
        for stream in streams:
            stream.cancel()
