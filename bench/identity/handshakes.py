"""What connecting costs: a new connection and one call, beside plain and mutual TLS from static files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1.health_pb2 import HealthCheckRequest

from bench.figures import Report, median
from bench.identity.floor import Floor
from bench.identity.kernel import OPTIONS, IdentityKernel
from bench.load import closed_loop

ROUNDS = 5
CONNECTIONS = 150
CONCURRENCY = 4
CHECK = "/grpc.health.v1.Health/Check"
ANSWER = "/bare.Bare/Answer"


async def run(report: Report, kernel: IdentityKernel, floor: Floor, folder: Path) -> None:
    """The kernel's two doors and the floor's two, in turn."""
    files = floor.files  # who trusts both
    mutual = grpc.ssl_channel_credentials(files.bundle, files.key, files.svid)
    plain = grpc.ssl_channel_credentials(files.bundle)
    asked = HealthCheckRequest().SerializeToString()
    loops: dict[str, Callable[[int], Awaitable[object]]] = {
        "kernel": _connecting(kernel.address, mutual, CHECK, asked),
        "kernel, tokens": _connecting(kernel.token_address, plain, CHECK, asked),
        "plain": _connecting(floor.plain, plain, ANSWER, b""),
        "mutual": _connecting(floor.mutual, mutual, ANSWER, b""),
    }
    millis: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            done = await closed_loop(loop, concurrency=CONCURRENCY, calls=CONNECTIONS)
            millis[name].append(median(done.latencies) * 1e3)
    found = {name: median(values) for name, values in millis.items()}
    beside = {
        "connect with a certificate, beside plain TLS with static files": ("kernel", "plain"),
        "connect with a certificate, beside mutual TLS with static files": ("kernel", "mutual"),
        "connect without, where tokens are shown, beside plain TLS with static files": ("kernel, tokens", "plain"),
    }
    for name, (ours, theirs) in beside.items():
        report.add(name, found[ours], "ms", baseline=found[theirs])


def _connecting(
    address: str, credentials: grpc.ChannelCredentials, method: str, request: bytes
) -> Callable[[int], Awaitable[object]]:
    async def connect(number: int) -> None:
        opened: Any = aio.secure_channel(address, credentials, OPTIONS)
        try:
            await asyncio.wait_for(opened.unary_unary(method)(request), 10)
        finally:
            await opened.close()

    return connect
