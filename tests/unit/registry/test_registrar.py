from __future__ import annotations

import asyncio

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.event_pb2 import EventType
from sira.registry.v1.health_check_pb2 import HealthState

from sira_grpc.errors import (
    EndpointHeld,
    EndpointNotFound,
    EtagMismatch,
    InvalidField,
    InvalidFieldMask,
    LeaseNotFound,
    LeaseNotYours,
    NamespaceNotFound,
    ServiceNotFound,
    StoreUnavailable,
)
from sira_grpc.registry import names
from tests.unit.registry.world import DEFAULT, NOT_SERVING, SERVICE, SERVING, World, endpoint


async def register(world: World, key: str, *endpoints: Endpoint, allow_missing_service: bool = False) -> int:
    done = await world.registry.registrar.register(
        endpoints, lease_key=key, allow_missing_service=allow_missing_service, actor="test"
    )
    return done.revision


async def test_an_endpoint_is_there_once_it_is_registered(world: World) -> None:
    await world.register(endpoint("a"), endpoint("b"))
    assert world.resolved() == {"a", "b"}
    entry = world.registry.view.endpoint(f"{SERVICE}/endpoints/a")
    assert entry.message.create_time.ToNanoseconds() == world.clock.time_ns()
    assert entry.message.etag == str(entry.revision) == str(world.store.revision)
    created = world.events(EventType.EVENT_TYPE_CREATED, SERVICE)
    assert {(e.resource, e.actor, e.revision) for e in created} == {
        (name, "test", entry.revision) for name in (SERVICE, f"{SERVICE}/endpoints/a", f"{SERVICE}/endpoints/b")
    }


async def test_registering_the_same_again_changes_nothing(world: World) -> None:
    key = await world.register(endpoint("a"))
    before = world.store.revision
    world.clock.advance(1)
    assert await register(world, key, endpoint("a")) == before == world.store.revision
    assert not world.events(EventType.EVENT_TYPE_UPDATED)


async def test_registering_again_with_other_values_keeps_the_registration(world: World) -> None:
    key = await world.register(endpoint("a"))
    created = world.registry.view.endpoint(f"{SERVICE}/endpoints/a").message.create_time.ToNanoseconds()
    world.clock.advance(1)
    await register(world, key, endpoint("a", port=81))
    message = world.registry.view.endpoint(f"{SERVICE}/endpoints/a").message
    assert (message.port, message.create_time.ToNanoseconds()) == (81, created)
    assert message.update_time.ToNanoseconds() == world.clock.time_ns()
    assert [e.resource for e in world.events(EventType.EVENT_TYPE_UPDATED)] == [message.name]


async def test_what_is_output_only_is_not_taken_from_the_caller(world: World) -> None:
    given = endpoint("a", check="tcp")
    given.status.state = SERVING
    given.status.suspect = True
    given.lease = "leases/somebody"
    given.create_time.FromSeconds(1)
    key = await world.register(given)
    message = world.registry.view.endpoint(given.name).message
    assert message.lease == names.lease_name(key.partition(".")[0])
    assert message.create_time.seconds > 1
    assert not message.status.suspect


async def test_all_or_nothing(world: World) -> None:
    await world.register(endpoint("a"))
    before = world.store.revision
    with pytest.raises(EndpointHeld):
        await world.register(endpoint("b"), endpoint("c", service=f"{DEFAULT}/services/new"), endpoint("a"))
    assert world.store.revision == before
    assert world.registered() == {"a"}
    assert len(world.registry.leases._tenures) == 1


async def test_what_is_missing(world: World) -> None:
    with pytest.raises(ServiceNotFound, match=SERVICE):
        await world.registry.registrar.register_under_new_lease(
            [endpoint("a")], ttl=15, allow_missing_service=False, actor=""
        )
    with pytest.raises(NamespaceNotFound, match="namespaces/x"):
        await world.register(endpoint("a", service="namespaces/x/services/s"))
    assert not world.registry.leases._tenures


async def test_two_of_one_name_are_refused(world: World) -> None:
    with pytest.raises(InvalidField) as error:
        await world.register(endpoint("a"), endpoint("b"), endpoint("a", port=81))
    assert [v.field for v in error.value.violations] == ["endpoints[2].name"]
    key = await world.register()
    with pytest.raises(InvalidField):
        await register(world, key, endpoint("a"), endpoint("a"))


async def test_an_endpoint_of_another_lease_is_held(world: World) -> None:
    first = await world.register(endpoint("a"))
    with pytest.raises(EndpointHeld) as error:
        await world.register(endpoint("a", port=81))
    lease = names.lease_name(first.partition(".")[0])
    assert error.value.metadata == {"resource": f"{SERVICE}/endpoints/a", "lease": lease}


async def test_an_endpoint_of_a_suspect_lease_can_be_taken_over(world: World) -> None:
    first = await world.register(endpoint("a"))
    hold = await world.registry.keeper.attach(first, actor="")
    world.registry.keeper.lost(hold, actor="")
    world.clock.advance(1)
    second = await world.register(endpoint("a"))
    entry = world.registry.view.endpoint(f"{SERVICE}/endpoints/a")
    assert entry.lease == second.partition(".")[0]
    assert not entry.message.status.suspect
    assert entry.message.create_time.ToNanoseconds() == world.clock.time_ns()
    # The first may come back, but not for what it has lost; and when it expires, that stays.
    await world.registry.keeper.attach(first, actor="")
    with pytest.raises(EndpointHeld):
        await register(world, first, endpoint("a"))
    with pytest.raises(LeaseNotYours):
        await world.registry.registrar.deregister([entry.message.name], lease_key=first, actor="")
    await world.registry.keeper.revoke(first, "", actor="")
    assert world.registered() == {"a"}


async def test_a_lease_that_was_attached_again_holds_at_once(world: World) -> None:
    first = await world.register(endpoint("a"))
    world.registry.keeper.lost(await world.registry.keeper.attach(first, actor=""), actor="")
    await world.settled()
    assert world.state().suspect
    await world.registry.keeper.attach(first, actor="")
    assert world.state().suspect  # that it is not suspect any more is not yet in the store
    with pytest.raises(EndpointHeld):
        await world.register(endpoint("a"))


async def test_what_was_taken_over_is_checked_anew(world: World) -> None:
    first = await world.register(endpoint("a", check="tcp"))
    name = f"{SERVICE}/endpoints/a"
    await found(world, "a", SERVING)
    world.registry.keeper.lost(await world.registry.keeper.attach(first, actor=""), actor="")
    world.clock.advance(1)
    world.prober.probed.clear()
    await world.register(endpoint("a", check="tcp"))
    assert world.state().state == HealthState.HEALTH_STATE_STARTING
    await found(world, "a", SERVING)
    assert name in world.prober.probed


async def found(world: World, id_: str, state: HealthState.ValueType) -> None:
    """Returns when the check of an endpoint has found a state, and the view shows it."""
    service = world.registry.view.services[SERVICE]
    subscriber = service.feed.subscribe(service.feed.revision)
    while world.state(id_).state != state:
        await subscriber.wait()
        subscriber.position = service.feed.revision
    subscriber.close()


@pytest.mark.parametrize("taken_over_by", ["the sweep", "revoking"])
async def test_what_is_taken_over_while_its_lease_ends_stays(world: World, taken_over_by: str) -> None:
    first = await world.register(endpoint("a"), ttl=15)
    world.registry.keeper.lost(await world.registry.keeper.attach(first, actor=""), actor="")
    await world.settled()
    world.clock.advance(20)
    world.store.shut()
    taking = asyncio.create_task(world.register(endpoint("a", port=81)))
    await world.store.arrived()
    registry = world.registry
    ending = registry.expiry.sweep() if taken_over_by == "the sweep" else registry.keeper.revoke(first, "", actor="")
    ended = asyncio.create_task(ending)
    await world.store.arrived()
    world.store.open()
    await taking
    await ended
    assert [e.port for e in world.resolve().endpoints] == [81]
    assert len(world.registry.view.leases) == 1


async def test_nothing_outlives_a_lease_that_is_revoked_while_it_is_registered(world: World) -> None:
    key = await world.register(endpoint("a"))
    world.store.shut()
    registering = asyncio.create_task(register(world, key, endpoint("b")))
    await world.store.arrived()
    revoking = asyncio.create_task(world.registry.keeper.revoke(key, "", actor=""))
    await world.turns()
    with pytest.raises(LeaseNotFound):
        await register(world, key, endpoint("c"))
    world.store.open()
    await asyncio.gather(registering, revoking)
    assert world.registered() == set()
    assert not world.registry.view.leases


async def test_a_registration_that_comes_too_late_is_told_so(world: World) -> None:
    key = await world.register(endpoint("a"))
    revoking = asyncio.create_task(world.registry.keeper.revoke(key, "", actor=""))
    registering = asyncio.create_task(register(world, key, endpoint("b")))
    await revoking
    with pytest.raises(LeaseNotFound):
        await registering
    assert world.registered() == set()


async def test_a_registration_whose_caller_goes_away_is_written(world: World) -> None:
    await world.service()
    world.store.shut()
    caller = asyncio.create_task(world.register(endpoint("a")))
    await world.store.arrived()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    world.store.open()
    await world.registry.commits.close()
    assert world.registered() == {"a"}
    world.clock.advance(20)
    await world.registry.expiry.sweep()
    assert world.registered() == set()


async def test_a_store_that_cannot_write_leaves_nothing(world: World) -> None:
    await world.service()
    world.store.failures = [StoreUnavailable("full")]
    with pytest.raises(StoreUnavailable):
        await world.register(endpoint("a"))
    assert not world.registry.leases._tenures


async def test_somebody_elses_key(world: World) -> None:
    mine = await world.register(endpoint("a"))
    theirs = await world.register(endpoint("b"))
    name = f"{SERVICE}/endpoints/a"
    with pytest.raises(LeaseNotYours):
        await world.registry.registrar.deregister([f"{SERVICE}/endpoints/b", name], lease_key=theirs, actor="")
    with pytest.raises(LeaseNotYours):
        await register(world, mine.partition(".")[0] + ".wrong", endpoint("c"))
    with pytest.raises(LeaseNotFound):
        await register(world, "nobody.knows", endpoint("c"))
    assert world.registered() == {"a", "b"}


@pytest.mark.parametrize("etag", ["1", "x"])
async def test_a_stale_etag_is_refused(world: World, etag: str) -> None:
    key = await world.register(endpoint("a"))
    before = world.store.revision
    stale = endpoint("a", port=81)
    stale.etag = etag
    with pytest.raises(EtagMismatch):
        await register(world, key, stale)
    with pytest.raises(EtagMismatch):
        await world.registry.registrar.update(stale, FieldMask(), actor="")
    with pytest.raises(EtagMismatch):
        await world.registry.registrar.delete(stale.name, etag=etag, actor="")
    new = endpoint("b", service=f"{DEFAULT}/services/new")
    new.etag = etag
    with pytest.raises(EtagMismatch):
        await register(world, key, new, allow_missing_service=True)
    assert world.store.revision == before


async def test_the_stored_etag_is_taken(world: World) -> None:
    await world.register(endpoint("a"))
    given = endpoint("a", port=81)
    given.etag = str(world.store.revision)
    entry = await world.registry.registrar.update(given, FieldMask(paths=["port"]), actor="me")
    assert (entry.message.port, entry.message.addresses) == (81, given.addresses)
    assert world.events(EventType.EVENT_TYPE_UPDATED)[0].actor == "me"
    await world.registry.registrar.delete(given.name, etag=entry.message.etag, actor="")
    assert world.registered() == set()


async def test_of_two_who_write_with_one_etag_one_is_refused(world: World) -> None:
    await world.register(endpoint("a"))
    given = endpoint("a")
    given.etag = str(world.store.revision)
    world.store.shut()
    registrar = world.registry.registrar
    updating = asyncio.create_task(registrar.update(given, FieldMask(paths=["version"]), actor=""))
    deleting = asyncio.create_task(registrar.delete(given.name, etag=given.etag, actor=""))
    await world.turns()
    world.store.open()
    outcomes = await asyncio.gather(updating, deleting, return_exceptions=True)
    assert [type(o) for o in outcomes if isinstance(o, Exception)] in ([EtagMismatch], [EndpointNotFound])


async def test_an_update_must_give_what_the_rules_allow(world: World) -> None:
    await world.register(endpoint("a"))
    before = world.store.revision
    update = world.registry.registrar.update
    with pytest.raises(InvalidField) as error:
        await update(endpoint("a", port=0), FieldMask(paths=["port"]), actor="")
    assert [v.field for v in error.value.violations] == ["endpoint.port"]
    with pytest.raises(InvalidFieldMask):
        await update(endpoint("a"), FieldMask(paths=["lease"]), actor="")
    with pytest.raises(EndpointNotFound):
        await update(endpoint("b"), FieldMask(), actor="")
    assert world.store.revision == before


async def test_an_update_may_change_how_it_is_checked(world: World) -> None:
    await world.register(endpoint("a", check="ttl"))
    assert world.state().state == HealthState.HEALTH_STATE_STARTING
    await world.registry.registrar.update(endpoint("a"), FieldMask(paths=["health_check"]), actor="")
    assert world.state().state == SERVING
    world.prober.answers[f"{SERVICE}/endpoints/a"] = NOT_SERVING
    await world.registry.registrar.update(endpoint("a", check="tcp"), FieldMask(paths=["health_check"]), actor="")
    await found(world, "a", NOT_SERVING)


async def test_deregistering_takes_all_or_none(world: World) -> None:
    key = await world.register(endpoint("a"), endpoint("b"))
    deregister = world.registry.registrar.deregister
    with pytest.raises(EndpointNotFound):
        await deregister([f"{SERVICE}/endpoints/a", f"{SERVICE}/endpoints/x"], lease_key=key, actor="")
    assert world.registered() == {"a", "b"}
    await deregister([f"{SERVICE}/endpoints/a"] * 2, lease_key=key, actor="me")
    assert world.registered() == {"b"}
    assert [(e.resource, e.actor) for e in world.events(EventType.EVENT_TYPE_DELETED)] == [
        (f"{SERVICE}/endpoints/a", "me")
    ]


async def test_many_with_records_go_in_one_commit(world: World) -> None:
    ids = [f"e{i}" for i in range(400)]
    key = await world.register(*(endpoint(i, check="ttl") for i in ids))
    every = [f"{SERVICE}/endpoints/{i}" for i in ids]
    for name in every:
        world.registry._checks.heard(name, SERVING, "well")
    await world.registry.drainer.drain([SERVICE], locality=None, patience=0, cause="", actor="")
    await world.settled()
    revision = await world.registry.registrar.deregister(every, lease_key=key, actor="")
    assert world.registered() == set()
    assert {e.revision for e in world.events(EventType.EVENT_TYPE_DELETED)} == {revision}
    assert world.registry.view.orphans
    await world.registry.expiry.sweep()
    assert not world.registry.view.orphans
    snapshot = await world.store.snapshot("registry/")
    assert {e.key.split("/")[1] for e in snapshot.entries} == {"namespaces", "services", "leases"}


async def test_a_large_lease_ends_whole(world: World) -> None:
    key = await world.register(*(endpoint(f"e{i}") for i in range(400)))
    await register(world, key, *(endpoint(f"f{i}") for i in range(200)))
    await world.registry.keeper.revoke(key, "released", actor="me")
    assert world.registered() == set()
    assert not world.registry.view.leases
    assert len(world.events(EventType.EVENT_TYPE_DELETED)) == 600


async def test_deleting_what_is_not_there(world: World) -> None:
    await world.service()
    with pytest.raises(EndpointNotFound):
        await world.registry.registrar.delete(f"{SERVICE}/endpoints/a", etag="", actor="")
