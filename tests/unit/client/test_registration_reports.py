from __future__ import annotations

import logging

import grpc
import pytest
from sira.registry.v1.registry_service_pb2 import DRAIN_OUTCOME_DRAINED
from sira_client import (
    Client,
    HealthCheck,
    HealthState,
    InvalidArgumentError,
    RegistrationState,
    TtlCheck,
)

from tests.unit.client.failure import Failure
from tests.unit.client.in_memory_kernel import InMemoryKernel

HELD, RECONNECTING = RegistrationState.HELD, RegistrationState.RECONNECTING


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sira_client")


async def test_a_drain_that_fails_does_not_keep_the_endpoint_from_ending(
    client: Client, kernel: InMemoryKernel, caplog: pytest.LogCaptureFixture
) -> None:
    async with client.register("greeter", port=1):
        kernel.failures["Drain"].append(Failure(grpc.StatusCode.INTERNAL, "INTERNAL"))
    assert not kernel.endpoints
    assert "could not be drained" in caplog.text


async def test_without_a_drain_timeout_there_is_no_drain(client: Client, kernel: InMemoryKernel) -> None:
    async with client.register("greeter", port=1, drain_timeout=0):
        pass
    assert not kernel.seen["Drain"]
    assert not kernel.endpoints


async def test_drain_can_be_asked_for(client: Client, kernel: InMemoryKernel) -> None:
    async with client.register("greeter", port=1, drain_timeout=0) as registration:
        response = await registration.drain(1.5, "upgrade")
        assert response.outcome == DRAIN_OUTCOME_DRAINED
        request = kernel.seen["Drain"][0]
        assert (request.timeout.ToMilliseconds(), request.cause) == (1500, "upgrade")


async def test_update_writes_only_what_is_given(client: Client, kernel: InMemoryKernel) -> None:
    async with client.register("greeter", port=1, weight=5, tags=["a"], metadata={"k": "v"}) as registration:
        stored = await registration.update(tags=["b", "c"], metadata={})
        assert (stored.weight, list(stored.tags), dict(stored.metadata)) == (5, ["b", "c"], {})
        assert registration.endpoint.tags == ["b", "c"]
        assert list(kernel.seen["UpdateEndpoint"][0].update_mask.paths) == ["metadata", "tags"]
        await registration.update()
        assert len(kernel.seen["UpdateEndpoint"]) == 1


async def test_an_update_that_is_refused_changes_nothing(client: Client, kernel: InMemoryKernel) -> None:
    async with client.register("greeter", port=1, weight=5) as registration:
        kernel.failures["UpdateEndpoint"].append(Failure(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"))
        with pytest.raises(InvalidArgumentError):
            await registration.update(weight=20_000)
        assert registration.endpoint.weight == 5
        assert registration.state is HELD


async def test_health_is_reported_with_the_key(client: Client, kernel: InMemoryKernel) -> None:
    check = HealthCheck(ttl=TtlCheck())
    check.ttl.ttl.seconds = 10
    async with client.register("greeter", port=1, health_check=check) as registration:
        await registration.report_health(HealthState.HEALTH_STATE_SERVING, "fine")
        (request,) = kernel.seen["ReportHealth"]
        assert request.lease_key == "key-1"
        assert [(r.name, r.state, r.cause) for r in request.reports] == [(registration.name, 2, "fine")]


async def test_load_is_reported_and_only_the_latest_counts(client: Client, kernel: InMemoryKernel) -> None:
    async with client.register("greeter", port=1) as registration:
        for in_flight in range(100):
            registration.report_load(in_flight=in_flight, utilization=0.5)
        await kernel.until(lambda: bool(kernel.loads))
        assert [(load.name, load.in_flight) for load in kernel.loads] == [(registration.name, 99)]
        assert kernel.seen["ReportLoad"][0].lease_key == "key-1"
        registration.report_load(in_flight=1)
        await kernel.until(lambda: kernel.loads[-1].in_flight == 1)


async def test_a_lost_stream_of_load_is_opened_again(client: Client, kernel: InMemoryKernel) -> None:
    async with client.register("greeter", port=1) as registration:
        kernel.failures["ReportLoad"].append(Failure(grpc.StatusCode.UNAVAILABLE))
        registration.report_load(in_flight=3)
        await kernel.until(lambda: any(load.in_flight == 3 for load in kernel.loads))


async def test_load_goes_on_under_a_new_lease(client: Client, kernel: InMemoryKernel) -> None:
    async with client.register("greeter", port=1) as registration:
        registration.report_load(in_flight=3)
        await kernel.until(lambda: bool(kernel.loads))
        kernel.leases["another"] = kernel.leases.pop("key-1")
        await kernel.drop_streams()
        await registration.wait_for(RECONNECTING)
        await registration.wait_for(HELD)
        kernel.loads.clear()
        registration.report_load(in_flight=4)
        await kernel.until(lambda: bool(kernel.loads))
        assert kernel.seen["ReportLoad"][-2].lease_key == "key-2"
