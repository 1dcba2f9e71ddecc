from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

import grpc
import pytest
from sira.registry.v1.registry_service_pb2 import DrainRequest, DrainResponse, RevokeLeaseRequest
from sira_client import (
    Client,
    DeadlineExceededError,
    InvalidArgumentError,
    RegistrationState,
    Service,
    Settings,
    UnavailableError,
    connect_insecure,
)

from tests.unit.client.failure import Failure
from tests.unit.client.in_memory_kernel import InMemoryKernel
from tests.unit.client.test_watch import SERVICE, endpoint

STORE_UNAVAILABLE = Failure(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")


@pytest.fixture
async def other() -> AsyncIterator[InMemoryKernel]:
    running = InMemoryKernel()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def both(kernel: InMemoryKernel, other: InMemoryKernel) -> AsyncIterator[Client]:
    """A client of two members, whose first is `kernel`."""
    seed = next(seed for seed in range(99) if Random(seed).randrange(2) == 0)
    settings = Settings(first_backoff=0.005, longest_backoff=0.05, random=Random(seed))
    async with connect_insecure([kernel.address, other.address], settings=settings) as connected:
        yield connected


async def test_a_call_that_reached_nobody_goes_to_the_next_member(
    both: Client, kernel: InMemoryKernel, other: InMemoryKernel
) -> None:
    await kernel.stop()
    await both.registry.RevokeLease(RevokeLeaseRequest(lease_key="k"))
    await both.registry.RevokeLease(RevokeLeaseRequest(lease_key="k"))
    assert len(other.seen["RevokeLease"]) == 2


async def test_a_read_that_failed_goes_to_the_next_member_and_a_write_does_not(
    both: Client, kernel: InMemoryKernel, other: InMemoryKernel
) -> None:
    kernel.failures["Resolve"].append(STORE_UNAVAILABLE)
    await both.resolve("greeter")
    assert (len(kernel.seen["Resolve"]), len(other.seen["Resolve"])) == (1, 1)
    other.failures["RevokeLease"].append(STORE_UNAVAILABLE)
    with pytest.raises(UnavailableError, match="STORE_UNAVAILABLE"):
        await both.registry.RevokeLease(RevokeLeaseRequest(lease_key="k"))
    assert (len(kernel.seen["RevokeLease"]), len(other.seen["RevokeLease"])) == (0, 1)


@pytest.mark.parametrize(
    ("reason", "key", "undone"), [("STORE_UNAVAILABLE", "outcome", "none"), ("NOT_OWNER", "executed", "no")]
)
async def test_a_write_that_was_not_begun_goes_again_until_it_is(
    both: Client, kernel: InMemoryKernel, reason: str, key: str, undone: str
) -> None:
    refused = Failure(grpc.StatusCode.UNAVAILABLE, reason, retry_after_ms=1, fact=(key, undone))
    kernel.failures["RevokeLease"] += [refused] * 5
    await both.registry.RevokeLease(RevokeLeaseRequest(lease_key="k"))
    assert len(kernel.seen["RevokeLease"]) == 6


@pytest.mark.parametrize(
    "refused",
    [
        Failure(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", retry_after_ms=1, fact=("outcome", "unknown")),
        Failure(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", fact=("outcome", "none")),
        Failure(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", retry_after_ms=3_600_000, fact=("outcome", "none")),
        Failure(grpc.StatusCode.UNAVAILABLE, "NOT_OWNER", retry_after_ms=1, fact=("executed", "unknown")),
    ],
)
async def test_a_write_that_may_have_been_done_or_is_not_to_be_tried_again_soon_does_not_go_again(
    both: Client, kernel: InMemoryKernel, refused: Failure
) -> None:
    kernel.failures["RevokeLease"].append(refused)
    with pytest.raises(UnavailableError, match=refused.reason):
        await both.registry.RevokeLease(RevokeLeaseRequest(lease_key="k"))
    assert len(kernel.seen["RevokeLease"]) == 1


async def test_with_every_member_gone_the_caller_learns_at_once(
    both: Client, kernel: InMemoryKernel, other: InMemoryKernel
) -> None:
    await kernel.stop()
    await other.stop()
    with pytest.raises(UnavailableError, match="failed to connect"):
        await both.resolve("greeter")


async def test_a_registration_moves_to_another_member_and_a_watch_too(
    both: Client, kernel: InMemoryKernel, other: InMemoryKernel
) -> None:
    for member in (kernel, other):
        await member.put(endpoint(1), service=Service(name=SERVICE))
    watch = both.watch("greeter")
    await anext(watch)
    async with both.register("greeter", port=1, drain_timeout=0) as registration:
        other.leases.update(kernel.leases)
        await kernel.stop()
        await registration.wait_for(RegistrationState.RECONNECTING)
        await registration.wait_for(RegistrationState.HELD)
        assert other.seen["HoldLease"][-1].lease_key == "key-1"
        await other.put(endpoint(2))
        async for view in watch:
            if endpoint(2).name in view.endpoints:
                break
    await watch.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_each_unary_call_has_a_default_deadline(kernel: InMemoryKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    async def drain(_: DrainRequest, context: grpc.aio.ServicerContext[DrainRequest, DrainResponse]) -> DrainResponse:
        seen.append(context.time_remaining())
        return DrainResponse()

    monkeypatch.setattr(kernel, "Drain", drain)
    await kernel.stop()
    await kernel.start()
    async with connect_insecure(kernel.address, settings=Settings(default_timeout=100)) as client:
        await client.registry.Drain(DrainRequest())
        await client.registry.Drain(DrainRequest(), timeout=100_000)
    assert 0 < seen[0] < 1_000 < seen[1]


async def test_a_deadline_that_passes_is_a_typed_error(client: Client) -> None:
    with pytest.raises(DeadlineExceededError):
        await client.registry.RevokeLease(RevokeLeaseRequest(lease_key="k"), timeout=0)


async def test_an_error_of_the_kernel_is_a_typed_error(client: Client, kernel: InMemoryKernel) -> None:
    kernel.failures["Resolve"].append(
        Failure(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", violation=("limit", "must be small"))
    )
    with pytest.raises(InvalidArgumentError) as caught:
        await client.resolve("greeter")
    assert [(v.field, v.rule) for v in caught.value.violations] == [("limit", "must be small")]
    assert caught.value.metadata == {"key": "value"}


async def test_the_rpcs_wait_for_the_block(kernel: InMemoryKernel) -> None:
    client = connect_insecure(kernel.address)
    with pytest.raises(RuntimeError, match="only in `async with`"):
        client.watch("greeter")
