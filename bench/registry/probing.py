"""Five thousand endpoints probed every ten seconds: what it costs, and whether other calls feel it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from grpc import aio
from grpc_health.v1 import health, health_pb2_grpc
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import GrpcCheck, HealthCheck, HttpCheck, TcpCheck

from bench.figures import Report, percentile
from bench.load import channels
from bench.processes import Server
from bench.registry import messages

ENDPOINTS = 5_000
INTERVAL_SECONDS = 10
WATCHED_SECONDS = 20
RESOLVES = 400

CHECKS = {
    "tcp": lambda: HealthCheck(tcp=TcpCheck()),
    "http": lambda: HealthCheck(http=HttpCheck(path="/healthz")),
    "grpc": lambda: HealthCheck(grpc=GrpcCheck()),
}


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if await reader.read(4096):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    writer.close()


@asynccontextmanager
async def _target(kind: str) -> AsyncIterator[int]:
    """Serves what is probed, on every loopback address, and yields the port."""
    if kind == "grpc":
        server = aio.server()
        servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("0.0.0.0:0")
        await server.start()
        try:
            yield port
        finally:
            await server.stop(None)
        return
    plain = await asyncio.start_server(_answer, "0.0.0.0", 0)
    async with plain:
        yield plain.sockets[0].getsockname()[1]


def _endpoint(kind: str, number: int, port: int) -> Endpoint:
    endpoint = messages.endpoint(f"probed-{kind}", number)
    del endpoint.addresses[:]
    endpoint.addresses.append(f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}")
    endpoint.port = port
    endpoint.health_check.CopyFrom(CHECKS[kind]())
    endpoint.health_check.interval.seconds = INTERVAL_SECONDS
    return endpoint


async def _paced(call: Callable[[int], Awaitable[object]], seconds: float) -> list[float]:
    """Calls at a steady, light rate and returns the latencies."""
    latencies = []
    for number in range(RESOLVES):
        begun = time.perf_counter()
        await call(number)
        took = time.perf_counter() - begun
        latencies.append(took)
        await asyncio.sleep(max(0.0, seconds / RESOLVES - took))
    return latencies


async def run(report: Report, kernel: Server, bare: Server) -> None:
    """Tries each kind of check."""
    async with channels(kernel.address, 1) as (channel,):
        register = channel.unary_unary(messages.REGISTRY + "RegisterEndpoints")
        delete = channel.unary_unary(messages.REGISTRY + "DeleteService")
        resolve = channel.unary_unary(messages.RESOLVER + "Resolve")
        await register(messages.register([messages.endpoint("resolved", i) for i in range(10)]))
        request = messages.resolve("resolved")
        quiet = await _paced(lambda i: resolve(request), WATCHED_SECONDS / 2)
        for kind in CHECKS:
            async with _target(kind) as port:
                batches = [
                    messages.register([_endpoint(kind, i, port) for i in range(at, min(at + 400, ENDPOINTS))])
                    for at in range(0, ENDPOINTS, 400)
                ]
                for batch in batches:
                    await register(batch)
                await asyncio.sleep(INTERVAL_SECONDS * 1.2)  # every endpoint has been probed once
                used, begun = kernel.cpu_seconds(), time.perf_counter()
                busy = await _paced(lambda i: resolve(request), WATCHED_SECONDS)
                share = (kernel.cpu_seconds() - used) / (time.perf_counter() - begun)
                report.add(
                    f"{ENDPOINTS} endpoints probed by {kind} every {INTERVAL_SECONDS} s", share * 100, "% of a core"
                )
                report.add(
                    f"Resolve p99 meanwhile ({kind}), beside a quiet kernel",
                    percentile(busy, 0.99) * 1e3,
                    "ms",
                    baseline=percentile(quiet, 0.99) * 1e3,
                )
                await delete(messages.delete_service(f"probed-{kind}"))
