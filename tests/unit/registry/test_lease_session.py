from __future__ import annotations

import asyncio

import pytest
from sira.registry.v1.lease_pb2 import LeaseState
from sira.registry.v1.registry_service_pb2 import HoldLeaseRequest, HoldLeaseResponse

from sira_grpc.errors import (
    EndpointHeld,
    EndpointNotFound,
    InvalidField,
    LeaseNotFound,
    LeaseNotYours,
    LeaseSuperseded,
    StoreUnavailable,
)
from sira_grpc.registry.lease_session import LeaseSession
from tests.unit.registry.world import SERVICE, World, endpoint


@pytest.fixture
def session(world: World) -> LeaseSession:
    return world.registry.session(actor="me")


async def hold(session: LeaseSession, *ids: str, key: str = "", ttl: int = 0) -> HoldLeaseResponse:
    request = HoldLeaseRequest(lease_key=key, endpoints=[endpoint(i) for i in ids], allow_missing_service=True)
    if ttl:
        request.lease_ttl.FromSeconds(ttl)
    return await session.handle(request)


async def test_the_first_request_makes_a_lease_and_holds_it(world: World, session: LeaseSession) -> None:
    assert session.ended is None
    response = await hold(session, "a", ttl=7)
    assert response.lease.state == LeaseState.LEASE_STATE_HELD
    assert (response.lease.ttl.seconds, response.lease.endpoints, response.lease.owner) == (7, 1, "me")
    assert response.lease_key
    assert response.revision == world.store.revision
    assert world.resolved() == {"a"}


async def test_the_default_ttl(session: LeaseSession) -> None:
    assert (await hold(session)).lease.ttl.seconds == 15


async def test_later_requests_register_and_deregister(world: World, session: LeaseSession) -> None:
    await hold(session, "a")
    response = await hold(session, "b")
    assert (response.lease_key, response.lease.endpoints) == ("", 2)
    request = HoldLeaseRequest(endpoints=[endpoint("c")], deregister=[f"{SERVICE}/endpoints/a"])
    response = await session.handle(request)
    assert world.registered() == {"b", "c"}
    assert response.revision == world.store.revision
    before = world.store.revision
    assert (await session.handle(HoldLeaseRequest(lease_key="ignored"))).revision == before
    with pytest.raises(EndpointNotFound):
        await session.handle(HoldLeaseRequest(deregister=[f"{SERVICE}/endpoints/a"]))


async def test_attaching_by_the_key(world: World, session: LeaseSession) -> None:
    key = (await hold(session, "a")).lease_key
    session.lost()
    await world.settled()
    assert world.state().suspect
    again = world.registry.session(actor="me")
    response = await hold(again, "b", key=key)
    await world.settled()
    assert (response.lease_key, response.lease.endpoints) == ("", 2)
    assert not world.state().suspect
    third = world.registry.session(actor="me")
    await hold(third, key=key)
    assert again.ended is not None
    assert again.ended.done()
    assert isinstance(again.end(), LeaseSuperseded)
    await again.release()  # it has nothing left to release
    again.lost()
    assert world.registered() == {"a", "b"}
    await third.release()
    assert world.registered() == set()
    assert isinstance(third.end(), LeaseNotFound)


async def test_a_key_that_opens_nothing(world: World, session: LeaseSession) -> None:
    with pytest.raises(LeaseNotFound):
        await hold(session, "a", key="nobody.knows")
    assert session.ended is None
    session.lost()
    await session.release()


async def test_what_is_refused_changes_and_attaches_nothing(world: World, session: LeaseSession) -> None:
    key = (await hold(session, "a")).lease_key
    await world.register(endpoint("b"))
    before = world.store.revision
    other, gone = [f"{SERVICE}/endpoints/b"], [f"{SERVICE}/endpoints/x"]
    refused = [
        (LeaseNotYours, HoldLeaseRequest(endpoints=[endpoint("c")], deregister=other)),
        (EndpointNotFound, HoldLeaseRequest(endpoints=[endpoint("c")], deregister=gone)),
        (LeaseNotYours, HoldLeaseRequest(lease_key=key, endpoints=[endpoint("c")], deregister=other)),
        (EndpointHeld, HoldLeaseRequest(lease_key=key, endpoints=[endpoint("c"), endpoint("b")])),
        (InvalidField, HoldLeaseRequest(endpoints=[endpoint("c")], deregister=[f"{SERVICE}/endpoints/c"])),
        (LeaseNotFound, HoldLeaseRequest(lease_key="nobody.knows", deregister=other)),
    ]
    for error, request in refused:
        thief = world.registry.session(actor="me")
        with pytest.raises(error):
            await thief.handle(request)
        thief.lost()
    await world.settled()
    assert world.store.revision == before
    assert session.ended is not None
    assert not session.ended.done()


async def test_the_last_answer(session: LeaseSession) -> None:
    await hold(session, "a")
    last = session.farewell()
    assert (last.lease.endpoints, last.lease_key) == (1, "")
    await session.release()


async def test_a_session_whose_first_registration_fails_leaves_nothing(world: World, session: LeaseSession) -> None:
    await world.register(endpoint("a"))
    before = world.store.revision
    with pytest.raises(EndpointHeld):
        await hold(session, "a", "b")
    session.lost()
    await world.settled()
    assert world.store.revision == before
    assert len(world.registry.leases._tenures) == 1


async def test_what_could_not_be_released_counts_as_lost(world: World, session: LeaseSession) -> None:
    await hold(session, "a")
    world.store.failures = [StoreUnavailable("full")]
    with pytest.raises(StoreUnavailable):
        await session.release()
    await world.settled()
    assert world.state().suspect
    await world.sweep(after=20)
    assert world.registered() == set()


async def test_a_release_whose_caller_goes_away_goes_on(world: World, session: LeaseSession) -> None:
    await hold(session, "a")
    world.store.shut()
    releasing = asyncio.create_task(session.release())
    await world.store.arrived()
    releasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await releasing
    world.store.open()
    await world.registry.commits.close()
    assert world.registered() == set()
