from __future__ import annotations

import asyncio

import pytest
from sira.registry.v1.event_pb2 import EventType
from sira.registry.v1.health_check_pb2 import HealthState
from sira.registry.v1.load_pb2 import EndpointLoad
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.registry_service_pb2 import DrainOutcome, DrainResponse
from sira.registry.v1.resolver_service_pb2 import WatchRequest, WatchResponse

from sira_grpc.errors import EndpointNotFound, ServiceNotFound
from tests.unit.registry.world import DEFAULT, SERVICE, SERVING, World, endpoint

A, B = f"{SERVICE}/endpoints/a", f"{SERVICE}/endpoints/b"
DRAINING = HealthState.HEALTH_STATE_DRAINING
DRAINED = DrainOutcome.DRAIN_OUTCOME_DRAINED
DEADLINE = DrainOutcome.DRAIN_OUTCOME_DEADLINE_EXCEEDED
FOR_EVER = 3600.0


async def drain(
    world: World, *targets: str, patience: float = FOR_EVER, locality: Locality | None = None
) -> DrainResponse:
    return await world.registry.drainer.drain(
        targets, locality=locality, patience=patience, cause="maintenance", actor="me"
    )


class Watcher:
    """A reader of Watch that takes a message when it is told to."""

    def __init__(self, world: World, service: str = SERVICE) -> None:
        self._messages = world.registry.watching.follow(WatchRequest(service=service))

    async def read(self) -> WatchResponse:
        return WatchResponse.FromString(await anext(self._messages))

    async def caught_up(self) -> None:
        """Comes back for more: what was read before has been sent."""
        waiting = asyncio.ensure_future(anext(self._messages))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])

    async def close(self) -> None:
        await self._messages.aclose()


async def test_what_drains_is_not_resolved(world: World) -> None:
    await world.register(endpoint("a"), endpoint("b"))
    response = await drain(world, A)
    assert (response.outcome, response.revision) == (DRAINED, world.store.revision)
    assert [(e.name, e.HasField("in_flight")) for e in response.endpoints] == [(A, False)]
    assert world.resolved() == {"b"}
    status = world.state()
    assert (status.state, status.cause) == (DRAINING, "maintenance")
    assert status.state_time.ToNanoseconds() == world.clock.time_ns()
    (event,) = world.events(EventType.EVENT_TYPE_HEALTH_CHANGED)
    assert (event.resource, event.cause, event.actor) == (A, "DRAINING: maintenance", "me")


async def test_it_returns_when_every_watcher_has_been_sent_it(world: World) -> None:
    await world.register(endpoint("a"))
    first, second, third = Watcher(world), Watcher(world), Watcher(world)
    for watcher in (first, second, third):
        await watcher.read()
    draining = asyncio.create_task(drain(world, SERVICE))
    (changed,) = (await first.read()).changes.upserted
    assert changed.status.state == DRAINING
    await first.caught_up()
    assert not draining.done()
    await second.read()
    await second.close()  # one that was handed it and went away
    await world.turns()
    assert not draining.done()
    await third.read()
    await third.close()
    response = await draining
    assert (response.outcome, response.watchers_pending) == (DRAINED, 0)
    assert response.watchers_notified == 1
    await first.close()


async def test_a_watcher_that_comes_later_sees_it_and_is_not_waited_for(world: World) -> None:
    await world.register(endpoint("a"))
    early = Watcher(world)
    await early.read()
    draining = asyncio.create_task(drain(world, SERVICE))
    await early.read()
    await world.turns()
    late = Watcher(world)
    assert (await late.read()).snapshot.endpoints[0].status.state == DRAINING
    await early.caught_up()
    response = await draining
    assert response.watchers_notified == 1
    await early.close()
    await late.close()


async def test_the_deadline_says_what_is_left(world: World) -> None:
    key = await world.register(endpoint("a"), endpoint("b"))
    world.registry.load_reporter(key).report([EndpointLoad(name=A, in_flight=3)])
    watcher = Watcher(world)
    await watcher.read()
    response = await drain(world, SERVICE, patience=0)
    assert (response.outcome, response.watchers_pending, response.watchers_notified) == (DEADLINE, 1, 0)
    assert {e.name: e.in_flight for e in response.endpoints if e.HasField("in_flight")} == {A: 3}
    assert world.state("a").state == DRAINING
    assert not world.registry.view.services[SERVICE].feed._barriers
    await watcher.close()
    again = await drain(world, SERVICE, patience=0)
    assert (again.outcome, again.watchers_pending) == (DEADLINE, 0)  # requests are still in flight


async def test_it_waits_for_what_is_in_flight(world: World) -> None:
    key = await world.register(endpoint("a"), endpoint("b"))
    reporter = world.registry.load_reporter(key)
    reporter.report([EndpointLoad(name=A, in_flight=3)])
    world.clock.advance(1)
    draining = asyncio.create_task(drain(world, A))
    feed = world.registry.view.services[SERVICE].feed
    subscriber = feed.subscribe(feed.revision)
    await subscriber.wait()
    subscriber.close()
    await world.turns()
    reporter.report([EndpointLoad(name=A, in_flight=1)])
    await world.turns()
    assert not draining.done()
    reporter.report([EndpointLoad(name=A)])
    response = await draining
    assert response.outcome == DRAINED
    assert response.endpoints[0].in_flight == 0


async def test_nobody_is_left_out_when_it_need_not_wait(world: World) -> None:
    await world.register(endpoint("a"))
    assert (await drain(world, A, patience=0)).outcome == DRAINED


async def test_an_endpoint_that_goes_away_is_drained(world: World) -> None:
    key = await world.register(endpoint("a"))
    world.registry.load_reporter(key).report([EndpointLoad(name=A, in_flight=3)])
    draining = asyncio.create_task(drain(world, A))
    await world.registry.keeper.revoke(key, "", actor="")
    assert (await draining).outcome == DRAINED


async def test_a_service_that_is_deleted_is_drained(world: World) -> None:
    await world.register(endpoint("a"))
    watcher = Watcher(world)
    await watcher.read()
    draining = asyncio.create_task(drain(world, SERVICE))
    await watcher.read()
    await world.registry.catalog.delete_service(SERVICE, etag="", force=True, actor="")
    with pytest.raises(ServiceNotFound):
        await watcher.read()
    assert (await draining).outcome == DRAINED


async def test_a_call_that_is_cancelled_leaves_them_draining(world: World) -> None:
    await world.register(endpoint("a"))
    watcher = Watcher(world)
    await watcher.read()
    draining = asyncio.create_task(drain(world, SERVICE))
    await watcher.read()
    draining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await draining
    assert world.state().state == DRAINING
    assert not world.registry.view.services[SERVICE].feed._barriers
    await watcher.close()


async def test_by_locality(world: World) -> None:
    here, there, elsewhere = endpoint("a"), endpoint("b"), endpoint("c")
    here.locality.region, here.locality.zone = "eu", "eu-1"
    there.locality.region, there.locality.zone = "eu", "eu-2"
    elsewhere.locality.region = "us"
    await world.register(here, there, elsewhere)
    zone = await drain(world, SERVICE, locality=Locality(region="eu", zone="eu-1"))
    assert [e.name for e in zone.endpoints] == [A]
    region = await drain(world, SERVICE, locality=Locality(region="eu"))
    assert {e.name for e in region.endpoints} == {A, B}
    assert world.resolved() == {"c"}


async def test_several_services_and_endpoints_once_each(world: World) -> None:
    other = f"{DEFAULT}/services/other"
    await world.register(endpoint("a"), endpoint("b"), endpoint("c", service=other))
    before = world.store.revision
    response = await drain(world, SERVICE, A, f"{other}/endpoints/c", A)
    assert len(response.endpoints) == 3
    assert world.store.revision == before + 1
    again = await drain(world, SERVICE)
    assert again.revision == world.store.revision == before + 1


async def test_a_service_without_endpoints_is_drained(world: World) -> None:
    await world.service()
    before = world.store.revision
    response = await drain(world, SERVICE)
    assert (response.outcome, response.revision, len(response.endpoints)) == (DRAINED, before, 0)


async def test_nothing_is_marked_when_something_is_not_there(world: World) -> None:
    await world.register(endpoint("a"))
    before = world.store.revision
    with pytest.raises(EndpointNotFound):
        await drain(world, A, B)
    with pytest.raises(ServiceNotFound):
        await drain(world, A, f"{DEFAULT}/services/x")
    with pytest.raises(EndpointNotFound):
        await world.registry.drainer.cancel([A, B], actor="")
    assert world.store.revision == before


async def test_one_that_goes_away_before_it_is_marked(world: World) -> None:
    key = await world.register(endpoint("a"))
    world.store.shut()
    removing = asyncio.create_task(world.registry.keeper.revoke(key, "", actor=""))
    await world.store.arrived()
    draining = asyncio.create_task(drain(world, A))
    await world.turns()
    world.store.open()
    await removing
    assert (await draining).outcome == DRAINED
    await world.registry.expiry.sweep()  # the record that was written has no endpoint any more
    assert not world.registry.view.orphans


async def test_taking_it_back(world: World) -> None:
    await world.register(endpoint("a"), endpoint("b"))
    await drain(world, SERVICE)
    revision = await world.registry.drainer.cancel([A, A], actor="me")
    assert (revision, world.resolved(), world.state().state) == (world.store.revision, {"a"}, SERVING)
    event = world.events(EventType.EVENT_TYPE_HEALTH_CHANGED)[0]
    assert (event.resource, event.cause, event.actor) == (A, "no longer draining", "me")
    assert await world.registry.drainer.cancel([A], actor="me") == revision


async def test_it_outlives_a_restart_but_not_the_registration(world: World) -> None:
    key = await world.register(endpoint("a"))
    await drain(world, A)
    await world.restart()
    assert world.state().state == DRAINING
    await world.registry.registrar.deregister([A], lease_key=key, actor="")
    world.clock.advance(1)
    await world.register(endpoint("a"))
    assert world.state().state == SERVING


async def test_a_large_service_is_marked_in_several_commits(world: World) -> None:
    for part in range(4):
        await world.register(*(endpoint(f"e{part}-{i}") for i in range(300)))
    response = await drain(world, SERVICE)
    assert (response.outcome, len(response.endpoints), world.resolved()) == (DRAINED, 1200, set())
