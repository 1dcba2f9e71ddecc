"""Leases, watches, drains and health over real connections to a real kernel."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.event_pb2 import EventType
from sira.registry.v1.health_check_pb2 import GrpcCheck, HealthCheck, HealthState
from sira.registry.v1.lease_pb2 import Lease, LeaseState
from sira.registry.v1.load_pb2 import EndpointLoad
from sira.registry.v1.registry_service_pb2 import (
    DeleteServiceRequest,
    DrainOutcome,
    DrainRequest,
    HoldLeaseRequest,
    HoldLeaseResponse,
    RenewLeasesRequest,
    ReportLoadRequest,
    RevokeLeaseRequest,
)
from sira.registry.v1.resolver_service_pb2 import GetLeaseRequest, ListEventsRequest, ResolveRequest

from tests.clocks import FakeClock
from tests.integration.registry_kernel import DETAILS, SERVICE, Running, endpoint, reason_of, refusal, running

DRAINED = DrainOutcome.DRAIN_OUTCOME_DRAINED
DEADLINE = DrainOutcome.DRAIN_OUTCOME_DEADLINE_EXCEEDED


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def kernel(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Running]:
    async with running(tmp_path, clock=clock) as made:
        yield made


class Holder:
    """One HoldLease stream."""

    def __init__(self, kernel: Running) -> None:
        self.call = kernel.registry.HoldLease()

    async def send(self, *ids: str, key: str = "", **fields: Any) -> HoldLeaseResponse:
        await self.call.write(
            HoldLeaseRequest(lease_key=key, endpoints=[endpoint(i) for i in ids], allow_missing_service=True, **fields)
        )
        response = await self.call.read()
        assert isinstance(response, HoldLeaseResponse), "the stream has ended"
        return response

    async def ended(self) -> tuple[grpc.StatusCode, str]:
        """How the stream ends from the kernel's side."""
        return await refusal(self.call.read())


async def lease_of(kernel: Running, name: str) -> Lease:
    lease: Lease = (await kernel.resolver.GetLease(GetLeaseRequest(name=name))).lease
    return lease


def suspect(*ids: str) -> Callable[[dict[str, Endpoint]], bool]:
    """Whether these and no others are suspect."""
    return lambda endpoints: {i for i, e in endpoints.items() if e.status.suspect} == set(ids)


def present(*ids: str) -> Callable[[dict[str, Endpoint]], bool]:
    return lambda endpoints: endpoints.keys() == set(ids)


async def test_a_lease_lives_as_long_as_its_stream(kernel: Running) -> None:
    holder = Holder(kernel)
    first = await holder.send("a")
    assert first.lease_key
    assert first.lease.state == LeaseState.LEASE_STATE_HELD
    second = await holder.send("b", deregister=[f"{SERVICE}/endpoints/a"])
    assert (second.lease_key, second.lease.endpoints) == ("", 1)
    assert second.revision > first.revision
    view = kernel.watch()
    await view.until(present("b"))
    await holder.call.done_writing()
    last = await holder.call.read()
    assert (last.lease.name, last.lease.endpoints, last.lease_key) == (first.lease.name, 1, "")
    assert await holder.call.read() is aio.EOF
    assert await holder.call.code() == grpc.StatusCode.OK
    await view.until(present())
    assert (await refusal(lease_of(kernel, first.lease.name)))[1] == "LEASE_NOT_FOUND"


async def test_a_lost_stream_makes_suspect_until_another_attaches(kernel: Running) -> None:
    holder = Holder(kernel)
    first = await holder.send("a", "b")
    view = kernel.watch()
    await view.until(present("a", "b"))
    holder.call.cancel()
    await view.until(suspect("a", "b"))
    assert (await lease_of(kernel, first.lease.name)).state == LeaseState.LEASE_STATE_SUSPECT
    again = Holder(kernel)
    response = await again.send(key=first.lease_key)
    assert (response.lease.state, response.lease.endpoints) == (LeaseState.LEASE_STATE_HELD, 2)
    await view.until(suspect())
    events = (await kernel.resolver.ListEvents(ListEventsRequest(resource=first.lease.name))).events
    assert [e.type for e in events] == [EventType.EVENT_TYPE_LEASE_RECOVERED, EventType.EVENT_TYPE_LEASE_SUSPECT]
    await again.call.done_writing()
    await view.until(present())


async def test_a_client_that_dies_makes_all_its_leases_suspect(kernel: Running) -> None:
    """However many: none of them is taken for released, which it would be if the end of its stream were."""
    streams = 300
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("registry_holder.py")),
        kernel.kernel.addresses[0],
        str(streams),
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"held\n"
    view = kernel.watch()
    ids = [f"e{i}" for i in range(streams)]
    await view.until(present(*ids))
    child.kill()
    await child.wait()
    await view.until(suspect(*ids))
    status = (await kernel.status()).registry
    assert (status.leases, status.suspect_leases) == (streams, streams)


async def test_a_refused_request_attaches_nothing(kernel: Running) -> None:
    """Nor does it take the lease from the stream that holds it."""
    holder = Holder(kernel)
    key = (await holder.send("a")).lease_key
    await kernel.register(endpoint("b"))
    before = await kernel.status()
    for refused, reason in (
        (HoldLeaseRequest(lease_key=key, endpoints=[endpoint("b")]), "ENDPOINT_HELD"),
        (HoldLeaseRequest(lease_key=key, deregister=[f"{SERVICE}/endpoints/b"]), "LEASE_NOT_YOURS"),
        (HoldLeaseRequest(endpoints=[endpoint("c")], deregister=[f"{SERVICE}/endpoints/a"]), "LEASE_NOT_YOURS"),
        (HoldLeaseRequest(endpoints=[endpoint("c")], deregister=[f"{SERVICE}/endpoints/x"]), "ENDPOINT_NOT_FOUND"),
    ):
        thief = Holder(kernel)
        await thief.call.write(refused)
        assert (await thief.ended())[1] == reason
    assert await kernel.status() == before
    assert (await holder.send("c")).lease.endpoints == 2


async def test_a_lost_stream_that_nobody_follows_expires(kernel: Running, clock: FakeClock) -> None:
    holder = Holder(kernel)
    key = (await holder.send("a")).lease_key
    clock.advance(1000)
    view = kernel.watch()
    await view.until(present("a"))
    holder.call.cancel()
    await view.until(suspect("a"))
    clock.advance(15)
    await view.until(present())
    late = Holder(kernel)
    await late.call.write(HoldLeaseRequest(lease_key=key))
    assert await late.ended() == (grpc.StatusCode.NOT_FOUND, "LEASE_NOT_FOUND")


async def test_another_stream_takes_the_lease_over(kernel: Running) -> None:
    first, second = Holder(kernel), Holder(kernel)
    key = (await first.send("a")).lease_key
    await second.send("b", key=key)
    assert await first.ended() == (grpc.StatusCode.ABORTED, "LEASE_SUPERSEDED")
    view = kernel.watch()
    await view.until(present("a", "b"))
    assert suspect()(view.endpoints)
    await second.call.done_writing()
    await view.until(present())


async def test_a_lease_that_is_revoked_ends_its_stream(kernel: Running) -> None:
    holder = Holder(kernel)
    key = (await holder.send("a")).lease_key
    await kernel.registry.RevokeLease(RevokeLeaseRequest(lease_key=key))
    assert await holder.ended() == (grpc.StatusCode.NOT_FOUND, "LEASE_NOT_FOUND")


async def test_a_bad_request_ends_the_stream_and_the_lease_is_suspect(kernel: Running) -> None:
    holder = Holder(kernel)
    await holder.send("a")
    view = kernel.watch()
    await view.until(present("a"))
    await holder.call.write(HoldLeaseRequest(endpoints=[endpoint("b", port=0)]))
    assert await holder.ended() == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    await view.until(suspect("a"))


async def test_a_lease_that_unary_calls_renew(kernel: Running, clock: FakeClock) -> None:
    kept, lost = await kernel.register(endpoint("a")), await kernel.register(endpoint("b"))
    view = kernel.watch()
    await view.until(present("a", "b"))
    clock.advance(14)
    response = await kernel.registry.RenewLeases(RenewLeasesRequest(lease_keys=[kept.lease_key]))
    assert not response.lost
    clock.advance(1)
    await view.until(present("a"))
    keys = [lost.lease_key, kept.lease_key, "no key"]
    assert list((await kernel.registry.RenewLeases(RenewLeasesRequest(lease_keys=keys))).lost) == [0, 2]
    # The lease that unary calls renewed until now can be held by a stream.
    holder = Holder(kernel)
    await holder.send(key=kept.lease_key)
    clock.advance(1000)
    assert (await lease_of(kernel, kept.lease.name)).state == LeaseState.LEASE_STATE_HELD
    await holder.call.done_writing()
    await view.until(present())


async def test_a_kernel_that_restarts_makes_nobody_suspect(tmp_path: Path, clock: FakeClock) -> None:
    async with running(tmp_path, clock=clock) as kernel:
        holders = [Holder(kernel) for _ in range(3)]
        keys = [(await holder.send(i)).lease_key for holder, i in zip(holders, "abc", strict=True)]
        renewed = await kernel.register(endpoint("d"))
        view = kernel.watch()
        await view.until(present(*"abcd"))
        stopping = asyncio.ensure_future(holders[0].call.read())
        await asyncio.sleep(0)
    with pytest.raises(aio.AioRpcError) as error:
        await stopping
    assert (error.value.code(), reason_of(error.value)) == (grpc.StatusCode.UNAVAILABLE, "KERNEL_STOPPING")
    assert retry_after(error.value) > 0
    clock.advance(100)
    async with running(tmp_path, clock=clock) as kernel:
        status = (await kernel.status()).registry
        assert (status.leases, status.suspect_leases, status.healthy_endpoints) == (4, 0, 4)
        resumed = kernel.watch(start=view.revision)
        assert (await resumed.read()).HasField("progress")
        clock.advance(14)
        for i, key in zip("ab", keys, strict=False):
            response = await Holder(kernel).send(i, key=key)
            assert response.lease.state == LeaseState.LEASE_STATE_HELD
        assert not (await kernel.registry.RenewLeases(RenewLeasesRequest(lease_keys=[renewed.lease_key]))).lost
        resumed.endpoints = view.endpoints
        clock.advance(1)
        await resumed.until(present("a", "b", "d"))  # c never came back
        events = (await kernel.resolver.ListEvents(ListEventsRequest(resource="leases"))).events
        assert EventType.EVENT_TYPE_LEASE_SUSPECT not in [e.type for e in events]


def retry_after(error: aio.AioRpcError) -> float:
    details = dict(error.trailing_metadata() or ())[DETAILS]
    for detail in Status.FromString(details).details:
        info = RetryInfo()
        if detail.Unpack(info):
            return float(info.retry_delay.ToTimedelta().total_seconds())
    return 0.0


async def test_a_watch_goes_on_over_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as kernel:
        await kernel.register(endpoint("a"), endpoint("b"))
        view = kernel.watch()
        await view.until(present("a", "b"))
        view.stream.cancel()
        gone = await kernel.register(endpoint("c"))
        await kernel.registry.RevokeLease(RevokeLeaseRequest(lease_key=gone.lease_key))
        await kernel.registry.Drain(DrainRequest(names=[f"{SERVICE}/endpoints/b"]))
        await kernel.register(endpoint("d"))
    async with running(tmp_path) as kernel:
        resumed = kernel.watch(start=view.revision)
        resumed.endpoints = {**view.endpoints, "c": endpoint("c")}
        changes = (await resumed.read()).changes
        assert {e.name[-1] for e in changes.upserted} == {"b", "d"}
        assert present("a", "b", "d")(resumed.endpoints)
        await kernel.register(endpoint("e"))
        await resumed.until(present("a", "b", "d", "e"))
        ahead = kernel.watch(start=(await kernel.status()).revision + 1)
        assert await refusal(ahead.read()) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_AHEAD")


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
