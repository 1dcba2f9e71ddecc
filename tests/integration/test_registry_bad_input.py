"""Bad input to every RPC of the registry: the documented reason, and nothing has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from sira.registry.v1.registry_service_pb2 import RegisterEndpointsRequest

from tests.clocks import FakeClock
from tests.integration.raw_calls import (
    LARGE_HEADERS,
    UNREADABLE,
    call,
    check,
    check_messages,
    error_of,
    of_packages,
    oversized_message,
    start,
)
from tests.integration.registry_cases import accepted, cases
from tests.integration.registry_kernel import Running, endpoint, reason_of, running
from tests.integration.registry_world import World, prepare
from tests.kernel_store import SERVERS

METHODS = of_packages("sira.registry.v1", "sira.kernel.v1")
EVERY_RPC = pytest.mark.parametrize("rpc", METHODS)
NOBODY = World(key="k", other_key="o", wrong_key="w", lease="leases/l", page_token="t")


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Running]:
    # Time stands still: no lease expires while a case is tried.
    async with running(tmp_path, clock=FakeClock()) as made:
        yield made


@pytest.fixture
async def world(kernel: Running) -> World:
    return await prepare(kernel)


def test_every_rpc_has_its_cases() -> None:
    assert cases(NOBODY).keys() == METHODS.keys()
    assert accepted(NOBODY).keys() == {method.name for method in METHODS.values()}
    assert all(given for rpc, given in cases(NOBODY).items() if METHODS[rpc].input_type.fields)
    check_messages(cases(NOBODY))


@EVERY_RPC
async def test_what_is_wrong_is_refused_and_changes_nothing(kernel: Running, world: World, rpc: str) -> None:
    before = await kernel.standing()
    for case in cases(world)[rpc]:
        await check(kernel, rpc, case)
    assert await kernel.standing() == before
    # With nothing wrong it is taken: the cases failed for what they are about.
    assert await call(kernel, rpc, [accepted(world)[METHODS[rpc].name].SerializeToString()])


async def test_what_cannot_be_read_is_refused(kernel: Running, world: World) -> None:
    before = await kernel.standing()
    for rpc in METHODS:
        for garbage in UNREADABLE:
            error = await error_of(kernel, rpc, garbage)
            assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"), rpc
    assert await kernel.standing() == before


async def test_what_is_too_large_is_refused(kernel: Running, world: World) -> None:
    before = await kernel.standing()
    for rpc, method in METHODS.items():
        error = await error_of(kernel, rpc, oversized_message())
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, rpc
        request = accepted(world)[method.name].SerializeToString()
        error = await error_of(kernel, rpc, request, metadata=LARGE_HEADERS)
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, rpc
    assert await kernel.standing() == before


async def test_a_call_that_is_cancelled_leaves_a_kernel_that_serves(kernel: Running, world: World) -> None:
    for rpc, method in METHODS.items():
        before = await kernel.standing()
        request = accepted(world)[method.name].SerializeToString()
        for send in (False, True):
            started = start(kernel, rpc, request)
            if send and method.client_streaming:
                await started.write(request)
            started.cancel()
            assert await started.code() == grpc.StatusCode.CANCELLED, rpc
        after = await kernel.standing()
        if not changes(method):
            assert after.registry == before.registry, rpc
        assert after.revision >= before.revision


def changes(method: MethodDescriptor) -> bool:
    """Whether the RPC may have been carried out before it was cancelled, and left something."""
    return method.containing_service.name == "RegistryService"


async def test_a_registration_repeated_changes_nothing(kernel: Running, world: World) -> None:
    before = await kernel.standing()
    request = RegisterEndpointsRequest(lease_key=world.key, endpoints=[endpoint("mine")])
    for _ in range(3):
        response = await kernel.registry.RegisterEndpoints(request)
        assert response.revision == before.revision or SERVERS  # where it is of the store, on which more goes on
    assert await kernel.standing() == before


async def test_a_stream_that_says_nothing_leaves_nothing(kernel: Running, world: World) -> None:
    before = await kernel.standing()
    for rpc, method in METHODS.items():
        if method.client_streaming:
            await call(kernel, rpc, [])
    assert await kernel.standing() == before
