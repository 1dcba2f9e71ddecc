"""Garbage to every RPC of the bus: taken or refused with a documented reason, and the kernel goes on serving."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError
from sira.bus.v1.publish_service_pb2 import PublishFramesRequest
from sira_client.frames import checksum

from tests.clocks import FakeClock
from tests.integration.bus_cases import accepted
from tests.integration.bus_world import EMPTY, IDLE, LINE, MEMORY, ORDERS, PRODUCER, WORK, image, prepare, running
from tests.integration.garbage_bench import Bench, try_garbage
from tests.integration.registry_kernel import Running
from tests.integration.registry_world import DEFAULT
from tests.integration.test_bus_bad_input import METHODS


def still(path: Path) -> AbstractAsyncContextManager[Running]:
    return running(path, clock=FakeClock())


def sealed(wire: bytes) -> bytes:
    """The message; where it publishes a frame, more often than not with its checksum, so that it is looked into."""
    request = PublishFramesRequest()
    try:
        request.ParseFromString(wire)
    except DecodeError:  # not a message, and refused as such
        return wire
    if request.sequence % 3:
        request.checksum = checksum(request.frame)
    return request.SerializeToString()


@pytest.mark.parametrize("rpc", METHODS)
def test_garbage(rpc: str) -> None:
    with Bench(still, prepare, image) as bench:
        world = bench.world
        known = [DEFAULT, ORDERS, EMPTY, MEMORY, WORK, LINE, IDLE, world.letter, PRODUCER]
        known += ["orders", "memory", "*", ">", *world.page_tokens.values()]
        request = accepted(world)[METHODS[rpc].name]
        prepared = sealed if isinstance(request, PublishFramesRequest) else lambda wire: wire
        try_garbage(bench, rpc, request, known, prepare=prepared)
