"""Leases and restarts over real connections to a real kernel."""

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
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.event_pb2 import EventType
from sira.registry.v1.lease_pb2 import Lease, LeaseState
from sira.registry.v1.registry_service_pb2 import (
    DrainRequest,
    HoldLeaseRequest,
    HoldLeaseResponse,
    RenewLeasesRequest,
    RevokeLeaseRequest,
)
from sira.registry.v1.resolver_service_pb2 import GetLeaseRequest, ListEventsRequest

from tests.clocks import FakeClock
from tests.integration.registry_kernel import DETAILS, SERVICE, Running, endpoint, reason_of, refusal, running


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
    before = await kernel.standing()
    for refused, reason in (
        (HoldLeaseRequest(lease_key=key, endpoints=[endpoint("b")]), "ENDPOINT_HELD"),
        (HoldLeaseRequest(lease_key=key, deregister=[f"{SERVICE}/endpoints/b"]), "LEASE_NOT_YOURS"),
        (HoldLeaseRequest(endpoints=[endpoint("c")], deregister=[f"{SERVICE}/endpoints/a"]), "LEASE_NOT_YOURS"),
        (HoldLeaseRequest(endpoints=[endpoint("c")], deregister=[f"{SERVICE}/endpoints/x"]), "ENDPOINT_NOT_FOUND"),
    ):
        thief = Holder(kernel)
        await thief.call.write(refused)
        assert (await thief.ended())[1] == reason
    assert await kernel.standing() == before
    assert (await holder.send("c")).lease.endpoints == 2


async def test_a_lost_stream_that_nobody_follows_expires(kernel: Running, clock: FakeClock) -> None:
    holder = Holder(kernel)
    key = (await holder.send("a")).lease_key
    await kernel.elapse(clock, 1000)
    view = kernel.watch()
    await view.until(present("a"))
    holder.call.cancel()
    await view.until(suspect("a"))
    await kernel.elapse(clock, 15)
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
    await kernel.elapse(clock, 14)
    response = await kernel.registry.RenewLeases(RenewLeasesRequest(lease_keys=[kept.lease_key]))
    assert not response.lost
    await kernel.elapse(clock, 1)
    await view.until(present("a"))
    keys = [lost.lease_key, kept.lease_key, "no key"]
    assert list((await kernel.registry.RenewLeases(RenewLeasesRequest(lease_keys=keys))).lost) == [0, 2]
    # The lease that unary calls renewed until now can be held by a stream.
    holder = Holder(kernel)
    await holder.send(key=kept.lease_key)
    await kernel.elapse(clock, 1000)
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
        await kernel.elapse(clock, 14)
        for i, key in zip("ab", keys, strict=False):
            response = await Holder(kernel).send(i, key=key)
            assert response.lease.state == LeaseState.LEASE_STATE_HELD
        assert not (await kernel.registry.RenewLeases(RenewLeasesRequest(lease_keys=[renewed.lease_key]))).lost
        resumed.endpoints = view.endpoints
        await kernel.elapse(clock, 1)
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
        ahead = kernel.watch(start=(await kernel.status()).revision + 1_000_000)
        assert await refusal(ahead.read()) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_AHEAD")
