"""Envoys beside a caller: `sira sidecar`, which only takes calls to others here."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Server, launch

ROOT = Path(__file__).parents[2]
READY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Sidecar:
    """One that runs.

    Attributes:
        egress: port of calls to others, on loopback.
        admin: port of Envoy's administration, on loopback.
    """

    egress: int
    admin: int


def executable() -> Path | None:
    """Returns the Envoy that the Makefile has installed; None where there is none for the platform."""
    return next((ROOT / ".venv-envoy" / "lib").glob("python*/site-packages/envoy/_bin/envoy"), None)


@contextlib.asynccontextmanager
async def running(kernel: Server, envoy: Path, *, delta: bool) -> AsyncIterator[Sidecar]:
    """Has one for the length of the block, with its listener in place."""
    sidecar = Sidecar(*_free_ports(2))
    options = ["--service", "caller", "--egress", str(sidecar.egress), "--admin", str(sidecar.admin), "--no-register"]
    options += ["--envoy", str(envoy), "--delta" if delta else "--sotw", "--concurrency", "1", "--drain", "0s"]
    command = [sys.executable, "-m", "sira_grpc", "-o", "json", "--addr", kernel.address, "sidecar", *options]
    async with asyncio.timeout(READY_SECONDS):
        server = await launch(command)
    try:
        yield sidecar
    finally:
        await server.stop()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in taken:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in taken]
