"""Bad input to every RPC of identity: the documented reason, and nothing has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from sira.identity.v1.authority_service_pb2 import GetIdentityStatusRequest, IdentityStatus, StartRotationRequest

from tests.integration.identity_cases import IN_A_ROTATION, NOBODY, World, accepted, cases, prepare
from tests.integration.identity_kernel import authority_stub, running
from tests.integration.raw_calls import (
    LARGE_HEADERS,
    PATIENCE,
    UNREADABLE,
    call,
    check,
    check_messages,
    error_of,
    of_packages,
    oversized_message,
    start,
)
from tests.integration.registry_kernel import Running, reason_of

METHODS = of_packages("sira.identity.v1")
EVERY_RPC = pytest.mark.parametrize("rpc", METHODS)


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as made:
        yield made


@pytest.fixture
async def world(kernel: Running) -> World:
    return await prepare(kernel)


async def status(kernel: Running) -> IdentityStatus:
    """How identity is, but for who watches: a stream may end a little after its client has gone."""
    found = (await authority_stub(kernel).GetIdentityStatus(GetIdentityStatusRequest())).status
    assert isinstance(found, IdentityStatus)
    found.watchers = 0
    return found


def test_every_rpc_has_its_cases() -> None:
    assert cases(NOBODY).keys() == METHODS.keys()
    assert accepted(NOBODY).keys() == {method.name for method in METHODS.values()}
    assert all(given for rpc, given in cases(NOBODY).items() if METHODS[rpc].input_type.fields)
    check_messages(cases(NOBODY))


@EVERY_RPC
async def test_what_is_wrong_is_refused_and_changes_nothing(kernel: Running, world: World, rpc: str) -> None:
    before, name = await status(kernel), METHODS[rpc].name
    for case in cases(world)[rpc]:
        await check(kernel, rpc, case)
    assert await status(kernel) == before
    if name in IN_A_ROTATION:
        await authority_stub(kernel).StartRotation(StartRotationRequest())
    # With nothing wrong it is taken: the cases failed for what they are about.
    assert await call(kernel, rpc, [accepted(world)[name].SerializeToString()])


async def test_what_cannot_be_read_is_refused(kernel: Running, world: World) -> None:
    before = await status(kernel)
    for rpc in METHODS:
        for garbage in UNREADABLE:
            error = await error_of(kernel, rpc, garbage)
            assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"), rpc
    assert await status(kernel) == before


async def test_what_is_too_large_is_refused(kernel: Running, world: World) -> None:
    before = await status(kernel)
    for rpc, method in METHODS.items():
        error = await error_of(kernel, rpc, oversized_message())
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, rpc
        request = accepted(world)[method.name].SerializeToString()
        error = await error_of(kernel, rpc, request, metadata=LARGE_HEADERS)
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, rpc
    assert await status(kernel) == before


async def test_a_call_that_is_cancelled_leaves_a_kernel_that_serves(kernel: Running, world: World) -> None:
    for rpc, method in METHODS.items():
        request = accepted(world)[method.name].SerializeToString()
        for send in (False, True):
            started = start(kernel, rpc, request)
            if send and method.client_streaming:
                await started.write(request)
            started.cancel()
            assert await started.code() == grpc.StatusCode.CANCELLED, rpc
        assert (await status(kernel)).trust_domain
    assert not kernel.kernel.failed


async def test_a_watch_that_never_opens_is_refused(kernel: Running, world: World) -> None:
    error = await error_of(kernel, "sira.identity.v1.IdentityService/WatchTrustBundles")
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


async def test_watches_that_were_refused_are_not_waited_for(kernel: Running, world: World) -> None:
    rpc = "sira.identity.v1.IdentityService/WatchTrustBundles"
    for case in cases(world)[rpc]:
        await check(kernel, rpc, case)
    identity = kernel.kernel.identity
    assert identity is not None
    async with asyncio.timeout(PATIENCE):
        while len(identity.watchers):
            await asyncio.to_thread(lambda: None)
