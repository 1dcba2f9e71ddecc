from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from sira_client import (
    AlreadyExistsError,
    Client,
    InvalidArgumentError,
    Locality,
    NotFoundError,
    RegistrationState,
    Settings,
    UnavailableError,
    connect_insecure,
)

from tests.unit.client.failure import Failure
from tests.unit.client.in_memory_kernel import InMemoryKernel

HELD, RECONNECTING = RegistrationState.HELD, RegistrationState.RECONNECTING


async def test_an_endpoint_is_there_within_the_block_and_gone_after_it(client: Client, kernel: InMemoryKernel) -> None:
    registration = client.register(
        "greeter",
        port=8080,
        address="10.0.0.1",
        endpoint_id="one",
        locality=Locality(region="eu", zone="a"),
        weight=7,
        metadata={"a": "b"},
        tags=["blue"],
        version="1.2",
        ttl=2.5,
    )
    assert registration.state is RegistrationState.REGISTERING
    async with registration:
        assert registration.state is HELD
        assert list(kernel.endpoints) == ["namespaces/default/services/greeter/endpoints/one"]
        assert kernel.seen["HoldLease"][0].lease_ttl.ToMilliseconds() == 2500
        assert kernel.seen["HoldLease"][0].allow_missing_service
        assert registration.endpoint.metadata == {"a": "b"}
        assert registration.endpoint.locality.zone == "a"
    assert registration.state.value == "released"
    assert registration.closed
    assert not kernel.endpoints
    assert [list(drain.names) for drain in kernel.seen["Drain"]] == [[registration.name]]
    assert not kernel.seen["RevokeLease"]


@pytest.mark.parametrize("ttl", [0.0, -1.0, float("nan"), float("inf")])
async def test_a_ttl_that_makes_no_sense_is_refused_at_once(client: Client, ttl: float) -> None:
    with pytest.raises(ValueError, match="ttl: must be above 0"):
        client.register("greeter", port=1, ttl=ttl)


async def test_address_and_id_are_derived_and_every_id_is_new(client: Client, kernel: InMemoryKernel) -> None:
    async with client.register("greeter", port=1) as one, client.register("greeter", port=2) as other:
        assert one.name != other.name
        assert [list(e.addresses) for e in kernel.endpoints.values()] == [["127.0.0.1"]] * 2


async def test_a_lost_stream_is_attached_again_with_the_key_alone(
    client: Client, kernel: InMemoryKernel, caplog: pytest.LogCaptureFixture
) -> None:
    async with client.register("greeter", port=1) as registration:
        await kernel.drop_streams()
        await registration.wait_for(RECONNECTING)
        assert isinstance(registration.error, UnavailableError)
        await registration.wait_for(HELD)
        assert registration.error is None
        attach = kernel.seen["HoldLease"][1]
        assert attach.lease_key == "key-1"
        assert not attach.endpoints
    assert "was lost" in caplog.text


async def test_a_kernel_restart_loses_nothing(client: Client, kernel: InMemoryKernel) -> None:
    async with client.register("greeter", port=1) as registration:
        await kernel.stop()
        await registration.wait_for(RECONNECTING)
        await kernel.start()
        await registration.wait_for(HELD)
        assert list(kernel.leases) == ["key-1"]
        assert list(kernel.endpoints) == [registration.name]


async def test_a_lease_that_is_gone_is_replaced_with_what_was_last_registered(
    client: Client, kernel: InMemoryKernel
) -> None:
    async with client.register("greeter", port=1, weight=5) as registration:
        await registration.update(weight=9, version="2")
        kernel.leases.clear()
        await kernel.drop_streams()
        await registration.wait_for(RECONNECTING)
        await registration.wait_for(HELD)
        fresh = kernel.seen["HoldLease"][-1]
        assert not fresh.lease_key
        assert [(e.weight, e.version) for e in fresh.endpoints] == [(9, "2")]


async def test_a_lease_that_somebody_took_over_is_left_to_them(
    client: Client, kernel: InMemoryKernel, caplog: pytest.LogCaptureFixture
) -> None:
    async with client.register("greeter", port=1) as registration:
        kernel.failures["stream"].append(Failure(grpc.StatusCode.ABORTED, "LEASE_SUPERSEDED"))
        await kernel.drop_streams()
        await registration.wait_for(RegistrationState.SUPERSEDED)
        with pytest.raises(Exception, match="LEASE_SUPERSEDED"):
            await registration.wait_for(HELD)
    assert "took the lease over" in caplog.text
    assert list(kernel.endpoints) == [registration.name]
    assert registration.state is RegistrationState.SUPERSEDED


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (
            Failure(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", violation=("port", "must be 1 or more")),
            InvalidArgumentError,
        ),
        (Failure(grpc.StatusCode.NOT_FOUND, "NAMESPACE_NOT_FOUND"), NotFoundError),
        (Failure(grpc.StatusCode.ALREADY_EXISTS, "ENDPOINT_HELD"), AlreadyExistsError),
    ],
)
async def test_what_the_kernel_refuses_at_first_is_raised(
    client: Client, kernel: InMemoryKernel, failure: Failure, expected: type[Exception]
) -> None:
    kernel.failures["HoldLease"].append(failure)
    registration = client.register("greeter", port=1)
    with pytest.raises(expected):
        await registration.__aenter__()
    assert registration.state is RegistrationState.FAILED
    assert registration.closed


async def test_what_passes_is_tried_again_and_so_is_a_name_that_an_attempt_may_have_taken(
    client: Client, kernel: InMemoryKernel
) -> None:
    kernel.failures["HoldLease"] += [
        Failure(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"),
        Failure(grpc.StatusCode.ALREADY_EXISTS, "ENDPOINT_HELD"),
        Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED", retry_after_ms=1),
    ]
    async with client.register("greeter", port=1) as registration:
        assert registration.state is HELD
    assert len(kernel.seen["HoldLease"]) == 4


async def test_a_refusal_later_on_is_tried_again_for_ever(client: Client, kernel: InMemoryKernel) -> None:
    async with client.register("greeter", port=1) as registration:
        kernel.failures["HoldLease"] += [Failure(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")] * 3
        await kernel.drop_streams()
        await registration.wait_for(RECONNECTING)
        await registration.wait_for(HELD)
        assert len(kernel.seen["HoldLease"]) == 5


async def test_registering_waits_for_a_kernel_that_is_not_there_yet(kernel: InMemoryKernel, settings: Settings) -> None:
    await kernel.stop()
    async with connect_insecure(kernel.address, settings=settings) as client:
        registration = client.register("greeter", port=1)
        entering = asyncio.create_task(registration.__aenter__())
        while registration.error is None:
            await registration.changed()
        await kernel.start()
        await entering
        assert registration.state is HELD
        await registration.close()


async def test_registering_gives_up_at_its_timeout(kernel: InMemoryKernel, settings: Settings) -> None:
    await kernel.stop()
    async with connect_insecure(kernel.address, settings=settings) as client:
        with pytest.raises(UnavailableError, match="could not be registered in time"):
            await client.register("greeter", port=1, timeout=0.3).__aenter__()


async def test_a_block_that_ends_while_the_stream_is_lost_gives_the_lease_back_all_the_same(
    kernel: InMemoryKernel,
) -> None:
    patient = Settings(first_backoff=30, longest_backoff=30)
    async with connect_insecure(kernel.address, settings=patient) as client:
        async with client.register("greeter", port=1) as registration:
            await kernel.drop_streams()
            await registration.wait_for(RECONNECTING)
        assert [request.lease_key for request in kernel.seen["RevokeLease"]] == ["key-1"]
        assert not kernel.endpoints


async def test_a_block_ends_even_if_nobody_is_there_to_hear_of_it(
    kernel: InMemoryKernel, caplog: pytest.LogCaptureFixture
) -> None:
    patient = Settings(first_backoff=30, longest_backoff=30)
    async with connect_insecure(kernel.address, settings=patient) as client:
        async with client.register("greeter", port=1) as registration:
            await kernel.stop()
            await registration.wait_for(RECONNECTING)
        assert registration.state.value == "released"
    assert "ends with its TTL" in caplog.text


async def test_a_client_that_closes_ends_its_registrations(kernel: InMemoryKernel, settings: Settings) -> None:
    async with connect_insecure(kernel.address, settings=settings) as client:
        await client.register("greeter", port=1).__aenter__()
        assert kernel.endpoints
    assert not kernel.endpoints


async def test_a_kernel_that_never_answers_is_left(kernel: InMemoryKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Settings(default_timeout=0.05, first_backoff=0.005, longest_backoff=0.05)
    stuck = asyncio.Event()
    original = kernel.HoldLease

    async def hold(requests: Any, context: Any) -> AsyncIterator[Any]:
        if not stuck.is_set():
            stuck.set()
            await asyncio.Event().wait()
        async for response in original(requests, context):
            yield response

    monkeypatch.setattr(kernel, "HoldLease", hold)
    await kernel.stop()
    await kernel.start()
    async with (
        connect_insecure(kernel.address, settings=silent) as impatient,
        impatient.register("greeter", port=1) as registration,
    ):
        assert registration.state is HELD
    assert stuck.is_set()


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sira_client")
