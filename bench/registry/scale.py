"""A hundred thousand endpoints: the memory they take, and a restart with them; and what an empty kernel takes."""

from __future__ import annotations

import asyncio
import tempfile
import time

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.figures import Report, median
from bench.load import channels, closed_loop
from bench.processes import Server, launch_kernel
from bench.registry import messages

ENDPOINTS = 100_000
PER_SERVICE = 1_000
STARTS = 3


async def start(folder: str) -> tuple[Server, float]:
    """Starts a kernel and returns it with the seconds from its exec until health says SERVING."""
    begun = time.perf_counter()
    server = await launch_kernel(folder)
    async with aio.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        async for answer in stub.Watch(health_pb2.HealthCheckRequest()):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return server, time.perf_counter() - begun
    raise RuntimeError("the kernel's health stream ended")


async def empty(report: Report) -> None:
    """An empty kernel."""
    times, memories = [], []
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory(prefix="sira-bench-") as folder:
            server, took = await start(folder)
            await asyncio.sleep(1)
            times.append(took)
            memories.append(server.resident_bytes())
            await server.stop()
    report.add("empty start to SERVING, process start included", median(times), "s", at_most=1)
    report.add("idle memory", median(memories) / 2**20, "MiB", at_most=120)


async def full(report: Report) -> None:
    """Fills a kernel, kills it, and starts it again."""
    with tempfile.TemporaryDirectory(prefix="sira-bench-") as folder:
        server, _ = await start(folder)
        before = server.resident_bytes()
        batches = [
            messages.register(
                [messages.endpoint(f"s{i // PER_SERVICE}", i) for i in range(at, at + messages.PER_MESSAGE)]
            )
            for at in range(0, ENDPOINTS, messages.PER_MESSAGE)
        ]
        async with channels(server.address, 1) as (channel,):
            call = channel.unary_unary(messages.REGISTRY + "RegisterEndpoints")
            filled = await closed_loop(lambda i: call(batches[i]), concurrency=4, calls=len(batches))
        report.say(f"  filled at {filled.rate * messages.PER_MESSAGE:.0f} endpoints/s")
        await asyncio.sleep(2)
        used = server.resident_bytes()
        report.add(f"memory with {ENDPOINTS} endpoints", used / 2**20, "MiB")
        report.add("memory an endpoint", (used - before) / ENDPOINTS / 1024, "KiB")
        times = []
        for _ in range(STARTS):
            await server.kill()
            server, took = await start(folder)
            times.append(took)
        report.add(f"restart with {ENDPOINTS} endpoints to SERVING, after kill -9", median(times), "s", at_most=5)
        report.add(f"memory with {ENDPOINTS} endpoints after a restart", server.resident_bytes() / 2**20, "MiB")
        await server.stop()
