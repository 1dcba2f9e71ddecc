"""Bad input to every RPC of the bus: the documented reason, and nothing has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.clocks import FakeClock
from tests.integration.bus_cases import accepted, cases
from tests.integration.bus_world import NOBODY, World, image, prepare, running
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
from tests.integration.registry_kernel import Running, reason_of

METHODS = of_packages("sira.bus.v1")
ONCE = {
    "CreateTopic": (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"),
    "CreateSubscription": (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"),
    "DeleteTopic": (grpc.StatusCode.NOT_FOUND, "TOPIC_NOT_FOUND"),
    "DeleteSubscription": (grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND"),
}
"""What is refused when it is said again, and how."""
AGAIN = {"PauseSubscription", "ResumeSubscription", "PublishFrames"}
"""What may be said again, and is done already."""
CHANGING = {
    *("CreateTopic", "UpdateTopic", "DeleteTopic", "Publish"),
    *("CreateSubscription", "UpdateSubscription", "DeleteSubscription"),
    *("PauseSubscription", "ResumeSubscription", "SeekSubscription", "RedriveDeadLetters", "PurgeDeadLetters"),
}
"""RPCs that may have been carried out before they were cancelled."""
EVERY_RPC = pytest.mark.parametrize("rpc", METHODS)


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Running]:
    # Time stands still: nothing that was delivered is overdue while a case is tried.
    async with running(tmp_path, clock=FakeClock()) as made:
        yield made
        assert not made.kernel.failed


@pytest.fixture
async def world(kernel: Running) -> World:
    return await prepare(kernel)


def test_every_rpc_has_its_cases() -> None:
    assert cases(NOBODY).keys() == METHODS.keys()
    assert accepted(NOBODY).keys() == {method.name for method in METHODS.values()}
    assert all(cases(NOBODY).values())
    check_messages(cases(NOBODY))


@EVERY_RPC
async def test_what_is_wrong_is_refused_and_changes_nothing(kernel: Running, world: World, rpc: str) -> None:
    before = await image(kernel)
    for case in cases(world)[rpc]:
        await check(kernel, rpc, case)
        assert await image(kernel) == before, case.requests
    # With nothing wrong it is taken: the cases failed for what they are about.
    assert await call(kernel, rpc, [accepted(world)[METHODS[rpc].name].SerializeToString()])


async def test_what_cannot_be_read_is_refused(kernel: Running, world: World) -> None:
    before = await image(kernel)
    for rpc in METHODS:
        for garbage in UNREADABLE:
            error = await error_of(kernel, rpc, garbage)
            assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"), rpc
    assert await image(kernel) == before


async def test_what_is_too_large_is_refused(kernel: Running, world: World) -> None:
    before = await image(kernel)
    for rpc, method in METHODS.items():
        error = await error_of(kernel, rpc, oversized_message())
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, rpc
        request = accepted(world)[method.name].SerializeToString()
        error = await error_of(kernel, rpc, request, metadata=LARGE_HEADERS)
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, rpc
    assert await image(kernel) == before


async def test_a_call_that_is_cancelled_leaves_a_kernel_that_serves(kernel: Running, world: World) -> None:
    for rpc, method in METHODS.items():
        before = await image(kernel)
        request = accepted(world)[method.name].SerializeToString()
        for send in (False, True):
            started = start(kernel, rpc, request)
            if send and method.client_streaming:
                await started.write(request)
            started.cancel()
            assert await started.code() == grpc.StatusCode.CANCELLED, rpc
        after = await image(kernel)  # once the streams are gone
        if method.name not in CHANGING:
            assert after == before, rpc
        assert (await kernel.status()).store_writable


async def test_a_stream_that_says_nothing_leaves_nothing(kernel: Running, world: World) -> None:
    before = await image(kernel)
    for rpc, method in METHODS.items():
        if method.client_streaming:
            assert await call(kernel, rpc, []) == []
    assert await image(kernel) == before


@pytest.mark.parametrize("rpc", [rpc for rpc in METHODS if METHODS[rpc].name in AGAIN.union(ONCE)])
async def test_a_command_that_is_repeated_changes_nothing_more(kernel: Running, world: World, rpc: str) -> None:
    name = METHODS[rpc].name
    request = accepted(world)[name].SerializeToString()
    await call(kernel, rpc, [request])
    before = await image(kernel)
    for _ in range(3):
        if name in AGAIN:
            await call(kernel, rpc, [request])
        else:
            error = await error_of(kernel, rpc, request)
            assert (error.code(), reason_of(error)) == ONCE[name]
    assert await image(kernel) == before
