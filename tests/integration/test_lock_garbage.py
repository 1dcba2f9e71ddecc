"""Garbage to every RPC of locks, elections and the cluster: taken or refused with a documented reason, and no more."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message_factory import GetMessageClass
from sira.cluster.v1.lock_service_pb2 import AcquireLockRequest

from sira_grpc.cluster.lock_tenant import LockTenant
from tests.clocks import FakeClock
from tests.integration.garbage_bench import Bench, try_garbage
from tests.integration.lock_cases import ELECTION, FREE, LOCK, NOWHERE, World, accepted, prepare
from tests.integration.raw_calls import METHODS, of_packages
from tests.integration.registry_kernel import Running, running
from tests.integration.registry_world import DEFAULT


def still(path: Path) -> AbstractAsyncContextManager[Running]:
    # Time stands still: nothing expires while garbage is tried.
    return running(path, clock=FakeClock())


async def image(kernel: Running) -> object:
    """What is held and waited for."""
    registry = kernel.kernel.registry
    assert registry is not None
    (view,) = (tenant._view for tenant in registry.catalog.tenants if isinstance(tenant, LockTenant))
    return {key: entry.record.SerializeToString() for key, entry in view.entries.items()}


def quick(rpc: str, wire: bytes) -> bytes:
    """The message; an AcquireLock is told not to wait for what nobody gives back."""
    request: Any = GetMessageClass(METHODS[rpc].input_type)()
    try:
        request.ParseFromString(wire)
    except Exception:  # noqa: BLE001 - not a message, and refused as such
        return wire
    if isinstance(request, AcquireLockRequest) and request.acquisition.wait.ToMilliseconds() > 1:
        request.acquisition.wait.FromMilliseconds(1)
    return bytes(request.SerializeToString())


@pytest.mark.parametrize("rpc", of_packages("sira.cluster.v1"))
def test_garbage(rpc: str) -> None:
    with Bench[World](still, prepare, image) as bench:
        world = bench.world
        secret = world.key.rpartition(".")[2]
        known = [DEFAULT, NOWHERE, LOCK, FREE, ELECTION, world.key, f"{FREE}.{secret}", secret, world.page_token]
        base = accepted(world).get(METHODS[rpc].name, Empty())
        if not METHODS[rpc].input_type.fields:
            base = GetMessageClass(METHODS[rpc].input_type)()
        try_garbage(bench, rpc, base, known, prepare=lambda wire: quick(rpc, wire))
