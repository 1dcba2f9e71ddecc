"""Envoys beside a caller: `sira sidecar`, which only takes calls to others here."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Server

ROOT = Path(__file__).parents[2]
READY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Sidecar:
    """One that runs.

    Attributes:
        egress: port of calls to others, on loopback.
        admin: port of Envoy's administration, on loopback.
        log: what both say, in a file.
    """

    egress: int
    admin: int
    log: Path


def executable() -> Path | None:
    """Returns the Envoy that the Makefile has installed; None where there is none for the platform."""
    return next((ROOT / ".venv-envoy" / "lib").glob("python*/site-packages/envoy/_bin/envoy"), None)


@contextlib.asynccontextmanager
async def running(kernel: Server, envoy: Path, folder: Path, *, delta: bool) -> AsyncIterator[Sidecar]:
    """Has one for the length of the block, with its listener in place.

    Raises:
        RuntimeError: it has ended instead.
    """
    form = "delta" if delta else "sotw"
    egress, admin = _free_ports(2)
    sidecar = Sidecar(egress, admin, folder / f"envoy-{form}.log")
    options = ["--service", "caller", "--egress", str(sidecar.egress), "--admin", str(sidecar.admin), "--no-register"]
    options += ["--envoy", str(envoy), f"--{form}", "--concurrency", "1", "--drain", "0s"]
    command = [sys.executable, "-m", "sira_grpc", "-o", "json", "--addr", kernel.address, "sidecar", *options]
    with sidecar.log.open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_SECONDS):
            if not await process.stdout.readline():
                raise RuntimeError(f"the sidecar has ended: {sidecar.log.read_text()[-2000:]}")
        yield sidecar
    finally:
        await Server(process, "").stop()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in taken:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in taken]
