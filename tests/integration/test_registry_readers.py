"""Watches, drains, load and health over real connections to a real kernel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import GrpcCheck, HealthCheck, HealthState
from sira.registry.v1.load_pb2 import EndpointLoad
from sira.registry.v1.registry_service_pb2 import (
    DeleteServiceRequest,
    DrainOutcome,
    DrainRequest,
    ReportLoadRequest,
)
from sira.registry.v1.resolver_service_pb2 import ResolveRequest

from tests.clocks import FakeClock
from tests.integration.registry_kernel import SERVICE, Running, endpoint, refusal, running

DRAINED = DrainOutcome.DRAIN_OUTCOME_DRAINED
DEADLINE = DrainOutcome.DRAIN_OUTCOME_DEADLINE_EXCEEDED


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def kernel(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Running]:
    async with running(tmp_path, clock=clock) as made:
        yield made


def present(*ids: str) -> Callable[[dict[str, Endpoint]], bool]:
    return lambda endpoints: endpoints.keys() == set(ids)


async def test_a_service_that_is_deleted_ends_its_watches(kernel: Running) -> None:
    await kernel.register(endpoint("a"))
    view = kernel.watch()
    await view.read()
    await kernel.registry.DeleteService(DeleteServiceRequest(name=SERVICE, force=True))
    assert await refusal(view.read()) == (grpc.StatusCode.NOT_FOUND, "SERVICE_NOT_FOUND")


async def test_drain_is_a_barrier_for_watchers(kernel: Running) -> None:
    await kernel.register(endpoint("a"), endpoint("b"))
    views = [kernel.watch() for _ in range(5)]
    for view in views:
        await view.until(present("a", "b"))
    response = await kernel.registry.Drain(DrainRequest(names=[f"{SERVICE}/endpoints/a"], cause="upgrade"))
    assert (response.outcome, response.watchers_notified, response.watchers_pending) == (DRAINED, 5, 0)
    for view in views:  # what is read next has been on its way before Drain answered
        assert (await view.read()).revision >= response.revision
        assert view.endpoints["a"].status.state == HealthState.HEALTH_STATE_DRAINING
        assert view.endpoints["a"].status.cause == "upgrade"
    resolved = await kernel.resolver.Resolve(ResolveRequest(service=SERVICE))
    assert [e.name for e in resolved.endpoints] == [f"{SERVICE}/endpoints/b"]


async def test_drain_does_not_count_a_watcher_that_does_not_read(kernel: Running) -> None:
    """Its messages fill what may be on its way; it gets the change when it reads on."""
    large = {f"k{i}": "v" * 1000 for i in range(60)}
    for part in range(10):
        endpoints = [endpoint(f"e{part}-{i}") for i in range(30)]
        for each in endpoints:
            each.metadata.update(large)
        await kernel.register(*endpoints)
    lazy, eager = kernel.watch(), kernel.watch()
    await lazy.read()
    await eager.until(lambda endpoints: len(endpoints) == 300)
    request = DrainRequest(names=[SERVICE])
    request.timeout.FromMilliseconds(1)
    response = await kernel.registry.Drain(request)
    assert (response.outcome, response.watchers_pending) == (DEADLINE, 2)  # and the other one has as much to read
    draining = asyncio.ensure_future(kernel.registry.Drain(DrainRequest(names=[SERVICE])))

    def all_drain(endpoints: dict[str, Endpoint]) -> bool:
        states = [e.status.state for e in endpoints.values()]
        return len(states) == 300 and set(states) == {HealthState.HEALTH_STATE_DRAINING}

    await asyncio.gather(lazy.until(all_drain), eager.until(all_drain))
    lazy.stream.cancel()
    eager.stream.cancel()
    assert (await draining).outcome == DRAINED


async def test_drain_waits_for_what_is_in_flight(kernel: Running) -> None:
    registered = await kernel.register(endpoint("a"))
    name = f"{SERVICE}/endpoints/a"
    load = kernel.registry.ReportLoad()
    await load.write(ReportLoadRequest(lease_key=registered.lease_key, loads=[EndpointLoad(name=name, in_flight=3)]))
    request = DrainRequest(names=[name])
    request.timeout.FromMilliseconds(0)
    view = kernel.watch()
    await view.until(present("a"))
    draining = asyncio.ensure_future(kernel.registry.Drain(DrainRequest(names=[name])))
    await view.until(lambda e: e["a"].status.state == HealthState.HEALTH_STATE_DRAINING)
    response = await kernel.registry.Drain(request)
    assert (response.outcome, response.endpoints[0].in_flight) == (DEADLINE, 3)
    assert not draining.done()
    await load.write(ReportLoadRequest(loads=[EndpointLoad(name=name, in_flight=0, utilization=0.1)]))
    response = await draining
    assert (response.outcome, response.endpoints[0].in_flight) == (DRAINED, 0)
    await load.done_writing()
    assert (await load).accepted == 2


async def test_load_is_reported_for_ones_own_endpoints(kernel: Running) -> None:
    mine, _ = await kernel.register(endpoint("a")), await kernel.register(endpoint("b"))
    load = kernel.registry.ReportLoad()
    loads = [EndpointLoad(name=f"{SERVICE}/endpoints/b")]
    await load.write(ReportLoadRequest(lease_key=mine.lease_key, loads=loads))
    assert await refusal(load) == (grpc.StatusCode.PERMISSION_DENIED, "LEASE_NOT_YOURS")
    empty = kernel.registry.ReportLoad()
    await empty.done_writing()
    assert (await empty).accepted == 0


async def test_health_as_a_server_tells_it(tmp_path: Path) -> None:
    servicer = health.aio.HealthServicer()
    server = aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    checked = Endpoint(name=f"{SERVICE}/endpoints/a", addresses=["127.0.0.1"], port=port)
    checked.health_check.CopyFrom(HealthCheck(grpc=GrpcCheck(service="web")))
    checked.health_check.interval.FromMilliseconds(100)

    async def tell(status: int) -> None:
        await servicer.set("web", status)

    await tell(health_pb2.HealthCheckResponse.NOT_SERVING)
    try:
        async with running(tmp_path) as kernel:
            await kernel.register(checked, endpoint("b"))
            view = kernel.watch()
            await view.until(lambda e: e["a"].status.state == HealthState.HEALTH_STATE_NOT_SERVING)
            for status, state in (
                (health_pb2.HealthCheckResponse.SERVING, HealthState.HEALTH_STATE_SERVING),
                (health_pb2.HealthCheckResponse.NOT_SERVING, HealthState.HEALTH_STATE_NOT_SERVING),
                (health_pb2.HealthCheckResponse.SERVING, HealthState.HEALTH_STATE_SERVING),
            ):
                await tell(status)
                await view.until(lambda e, state=state: e["a"].status.state == state)  # type: ignore[misc]  # bound
            await server.stop(None)
            await view.until(lambda e: e["a"].status.state == HealthState.HEALTH_STATE_NOT_SERVING)
            resolved = await kernel.resolver.Resolve(ResolveRequest(service=SERVICE))
            assert ([e.name[-1] for e in resolved.endpoints], resolved.registered) == (["b"], 2)
    finally:
        await server.stop(None)
