"""Bad input to every RPC of locks and elections: the documented reason, and nothing has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.clocks import FakeClock
from tests.integration.lock_cases import NOBODY, World, accepted, cases, prepare
from tests.integration.raw_calls import (
    LARGE_HEADERS,
    METHODS,
    UNREADABLE,
    call,
    check,
    check_messages,
    error_of,
    oversized_message,
    start,
)
from tests.integration.registry_kernel import Running, reason_of, running

SERVICES = ("sira.cluster.v1.LockService/", "sira.cluster.v1.ElectionService/")
RPCS = [rpc for rpc in METHODS if rpc.startswith(SERVICES)]
EVERY_RPC = pytest.mark.parametrize("rpc", RPCS)


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Running]:
    # Time stands still: nothing expires while a case is tried.
    async with running(tmp_path, clock=FakeClock()) as made:
        yield made
        assert not made.kernel.failed


@pytest.fixture
async def world(kernel: Running) -> World:
    return await prepare(kernel)


def test_every_rpc_has_its_cases() -> None:
    assert cases(NOBODY).keys() == set(RPCS)
    assert accepted(NOBODY).keys() == {METHODS[rpc].name for rpc in RPCS}
    assert all(cases(NOBODY).values())
    check_messages(cases(NOBODY))


@EVERY_RPC
async def test_what_is_wrong_is_refused_and_changes_nothing(kernel: Running, world: World, rpc: str) -> None:
    for case in cases(world)[rpc]:
        await check(kernel, rpc, case)
    # With nothing wrong it is taken: the cases failed for what they are about.
    assert await call(kernel, rpc, [accepted(world)[METHODS[rpc].name].SerializeToString()])


@EVERY_RPC
async def test_what_is_no_message_or_too_large_is_refused(kernel: Running, world: World, rpc: str) -> None:
    before = (await kernel.status()).revision
    for garbage in UNREADABLE:
        error = await error_of(kernel, rpc, garbage)
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    for request, metadata in ((oversized_message(), ()), (b"", LARGE_HEADERS)):
        error = await error_of(kernel, rpc, request, metadata=metadata)
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await kernel.status()).revision == before


@EVERY_RPC
async def test_a_call_that_is_cancelled_leaves_a_kernel_that_serves(kernel: Running, world: World, rpc: str) -> None:
    request = accepted(world)[METHODS[rpc].name].SerializeToString()
    for send in (False, True):
        started = start(kernel, rpc, request)
        if send and METHODS[rpc].client_streaming:
            await started.write(request)
        started.cancel()
        assert await started.code() == grpc.StatusCode.CANCELLED
    assert (await kernel.status()).store_writable


@pytest.mark.parametrize("metadata", ["", "x", "namespaces/default/locks/held=0", "namespaces/default/locks/held=x"])
async def test_what_is_no_fencing_token_is_refused(kernel: Running, world: World, metadata: str) -> None:
    request = accepted(world)["AcquireLock"].SerializeToString()
    rpc = "sira.cluster.v1.LockService/AcquireLock"
    error = await error_of(kernel, rpc, request, metadata=[("sira-fencing", metadata)])
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    error = await error_of(kernel, rpc, request, metadata=[("sira-fencing", "namespaces/default/locks/no=1")])
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "FENCING_TOKEN_STALE")
