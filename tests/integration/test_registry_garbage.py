"""Garbage to every RPC of the registry: taken or refused with a documented reason, and the kernel goes on serving."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from google.protobuf.message_factory import GetMessageClass
from sira.registry.v1.registry_service_pb2 import DrainRequest

from tests.clocks import FakeClock
from tests.integration.garbage_bench import Bench, try_garbage
from tests.integration.registry_cases import accepted
from tests.integration.registry_kernel import SERVICE, Running, running
from tests.integration.registry_world import DEFAULT, MINE, THEIRS, TOLD, prepare
from tests.integration.test_registry_bad_input import METHODS


def still(path: Path) -> AbstractAsyncContextManager[Running]:
    return running(path, clock=FakeClock())


async def image(kernel: Running) -> object:
    """What the registry holds, once what is written behind is in the store."""
    registry = kernel.kernel.registry
    assert registry is not None
    for pending in (registry.keeper.suspects, registry._health_writer.pending):
        await pending.flush()
    return (await kernel.status()).registry


@pytest.mark.parametrize("rpc", METHODS)
def test_garbage(rpc: str) -> None:
    def quick(wire: bytes) -> bytes:
        """The message; a Drain is told not to wait, as load may have been reported that never ends."""
        request = GetMessageClass(METHODS[rpc].input_type)()
        if not isinstance(request, DrainRequest):
            return wire
        try:
            request.ParseFromString(wire)
        except Exception:  # noqa: BLE001 - not a message, and refused as such
            return wire
        if not request.HasField("timeout") or request.timeout.ToMilliseconds() > 1:
            request.timeout.FromMilliseconds(0)
        return request.SerializeToString()

    with Bench(still, prepare, image) as bench:
        world = bench.world
        known = [DEFAULT, SERVICE, MINE, TOLD, THEIRS, world.key, world.other_key, world.wrong_key, world.lease]
        try_garbage(bench, rpc, accepted(world)[METHODS[rpc].name], known, prepare=quick)
