"""A holder of a lock is stopped for longer than its TTL: its token must be refused, every time."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration
from sira.cluster.v1.lock_service_pb2 import AcquireLockRequest, LockAcquisition, ReleaseLockRequest
from sira.cluster.v1.lock_service_pb2_grpc import LockServiceStub
from sira.registry.v1.registry_service_pb2 import CreateServiceRequest
from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from sira.registry.v1.service_pb2 import Service

from bench.bus import messages
from bench.cluster.stage import Stage, staged
from bench.figures import Report
from bench.load import channels

HOLDERS = 10
WRITES = 100
LOCK = f"{messages.NAMESPACE}/locks/stale"
SERVICE = f"{messages.NAMESPACE}/services/guarded"


async def run(report: Report, folder: Path) -> None:
    """One holder after the other, and a successor for each, which has the lock when the holder goes on."""
    stale = other = 0
    async with staged(folder, members=3) as stage, channels(stage.members[1].address, 1) as (channel,):
        stub: Any = RegistryServiceStub(channel)
        await stub.CreateService(CreateServiceRequest(service=Service(name=SERVICE)))
        for _ in range(HOLDERS):
            refused, else_ = await _stop_and_go(stage, channel)
            stale, other = stale + refused, other + else_
    report.add(f"stale tokens refused, of {HOLDERS * WRITES} tries", 100 * stale / (stale + other), "%", at_least=100)


async def _stop_and_go(stage: Stage, channel: Any) -> tuple[int, int]:
    """Returns how many writes of a stale holder were refused as such, and what else came of how many."""
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.cluster.lock_holder", ",".join(stage.addresses), LOCK, SERVICE, str(WRITES)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    if await holder.stdout.readline() != b"held\n":
        raise RuntimeError("the holder did not get the lock")
    holder.send_signal(signal.SIGSTOP)
    stub: Any = LockServiceStub(channel)
    acquisition = LockAcquisition(name=LOCK, ttl=Duration(seconds=60), wait=Duration(seconds=30))
    successor = (await stub.AcquireLock(AcquireLockRequest(acquisition=acquisition))).acquired
    holder.send_signal(signal.SIGCONT)
    output, _ = await holder.communicate(b"go on\n")
    await stub.ReleaseLock(ReleaseLockRequest(lock_key=successor.lock_key))
    refused, else_ = map(int, output.split())
    return refused, else_
