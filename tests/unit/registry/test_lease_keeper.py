from __future__ import annotations

import asyncio

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1.event_pb2 import EventType
from sira.registry.v1.lease_pb2 import Lease, LeaseState

from sira_grpc.errors import LeaseNotFound, LeaseNotYours, LeaseSuperseded, StoreUnavailable
from tests.unit.registry.world import NOT_SERVING, SERVICE, World, endpoint


def lease_of(world: World, key: str) -> Lease:
    return world.registry.listing.lease(f"leases/{key.partition('.')[0]}", FieldMask())


async def test_a_lease_as_it_is_told(world: World) -> None:
    key = await world.register(endpoint("a"), endpoint("b"), ttl=30)
    world.clock.advance(10)
    lease = lease_of(world, key)
    assert (lease.state, lease.ttl.seconds, lease.endpoints) == (LeaseState.LEASE_STATE_RENEWED, 30, 2)
    assert lease.expire_time.ToNanoseconds() == world.clock.time_ns() + 20_000_000_000
    assert lease.create_time.ToNanoseconds() == world.clock.time_ns() - 10_000_000_000
    hold = await world.registry.keeper.attach(key, actor="me")
    lease = lease_of(world, key)
    assert (lease.state, lease.HasField("expire_time")) == (LeaseState.LEASE_STATE_HELD, False)
    world.registry.keeper.lost(hold, actor="me")
    world.clock.advance(100)
    lease = lease_of(world, key)
    assert lease.state == LeaseState.LEASE_STATE_SUSPECT
    assert lease.expire_time.ToNanoseconds() == world.clock.time_ns()  # it is due


async def test_a_lost_stream_makes_suspect_and_attaching_takes_it_back(world: World) -> None:
    key = await world.register(endpoint("a"), endpoint("b"))
    other = await world.register(endpoint("c"))
    keeper = world.registry.keeper
    keeper.lost(await keeper.attach(key, actor="me"), actor="me")
    await world.settled()
    assert world.state("a").suspect
    assert world.state("b").suspect
    assert not world.state("c").suspect
    assert world.resolved() == {"c"}  # nothing vouches for the others
    assert world.registry.size().suspect_leases == 1
    await keeper.attach(key, actor="me")
    await world.settled()
    assert world.resolved() == {"a", "b", "c"}
    lease = f"leases/{key.partition('.')[0]}"
    told = [(e.type, e.actor) for _, e in world.registry.events.latest(below=0, resource=lease)]
    assert told == [(EventType.EVENT_TYPE_LEASE_RECOVERED, "me"), (EventType.EVENT_TYPE_LEASE_SUSPECT, "me")]
    assert lease_of(world, other).state == LeaseState.LEASE_STATE_RENEWED


async def test_suspects_are_used_when_there_is_nobody_else(world: World) -> None:
    key = await world.register(endpoint("a"))
    world.registry.keeper.lost(await world.registry.keeper.attach(key, actor=""), actor="")
    await world.settled()
    assert world.state().suspect
    assert world.resolved() == {"a"}


async def test_suspects_are_probed_at_once(world: World) -> None:
    key = await world.register(endpoint("a", check="tcp"))
    feed = world.registry.view.services[SERVICE].feed
    subscriber = feed.subscribe(feed.revision)
    while not world.resolved():
        await subscriber.wait()
        subscriber.position = feed.revision
    world.prober.answers[f"{SERVICE}/endpoints/a"] = NOT_SERVING
    world.registry.keeper.lost(await world.registry.keeper.attach(key, actor=""), actor="")
    while world.resolved():  # no time passes: no interval is over
        await subscriber.wait()
        subscriber.position = feed.revision
    assert world.state().state == NOT_SERVING


async def test_a_stream_that_comes_back_while_its_loss_is_written_leaves_nobody_suspect(world: World) -> None:
    key = await world.register(endpoint("a"))
    keeper = world.registry.keeper
    hold = await keeper.attach(key, actor="")
    await world.settled()
    world.store.shut()
    keeper.lost(hold, actor="")
    await world.store.arrived()
    await keeper.attach(key, actor="")
    world.store.open()
    await world.settled()
    assert not world.state().suspect
    assert not world.registry.view.suspects


async def test_suspicion_that_the_store_could_not_write_is_written_later(world: World) -> None:
    key = await world.register(endpoint("a"))
    keeper = world.registry.keeper
    hold = await keeper.attach(key, actor="")
    await world.settled()
    world.store.failures = [StoreUnavailable("full")]
    keeper.lost(hold, actor="")
    await world.settled()
    await world.settled()
    assert world.state().suspect


async def test_renewing_says_which_are_gone(world: World) -> None:
    first, second = await world.register(endpoint("a")), await world.register(endpoint("b"))
    keeper = world.registry.keeper
    await keeper.revoke(second, "", actor="")
    wrong = first.partition(".")[0] + ".wrong"
    assert await keeper.renew([second, first, "", wrong, first, "x.y"]) == [0, 2, 3, 5]


async def test_renewing_a_suspect_takes_it_back(world: World) -> None:
    key = await world.register(endpoint("a"))
    keeper = world.registry.keeper
    keeper.lost(await keeper.attach(key, actor=""), actor="")
    await world.settled()
    assert await keeper.renew([key]) == []
    await world.settled()
    assert not world.state().suspect
    assert lease_of(world, key).state == LeaseState.LEASE_STATE_RENEWED
    assert len(world.events(EventType.EVENT_TYPE_LEASE_RECOVERED)) == 1


async def test_revoking_removes_the_endpoints_at_once(world: World) -> None:
    key = await world.register(endpoint("a"), endpoint("b"))
    hold = await world.registry.keeper.attach(key, actor="")
    with pytest.raises(LeaseNotYours):
        await world.registry.keeper.revoke(key + "x", "", actor="")
    await world.registry.keeper.revoke(key, "no longer wanted", actor="me")
    assert world.registered() == set()
    assert hold.ended.done()
    assert isinstance(world.registry.keeper.end_of(hold, world.registry.view), LeaseNotFound)
    assert {(e.cause, e.actor) for e in world.events(EventType.EVENT_TYPE_DELETED)} == {("no longer wanted", "me")}
    with pytest.raises(LeaseNotFound):
        await world.registry.keeper.revoke(key, "", actor="")


async def test_of_two_who_revoke_one_lease_one_is_told_that_it_is_gone(world: World) -> None:
    key = await world.register(endpoint("a"))
    keeper = world.registry.keeper
    outcomes = await asyncio.gather(
        keeper.revoke(key, "", actor=""), keeper.revoke(key, "", actor=""), return_exceptions=True
    )
    assert [type(o) for o in outcomes if isinstance(o, Exception)] == [LeaseNotFound]


async def test_a_lease_that_could_not_be_revoked_can_be_used(world: World) -> None:
    key = await world.register(endpoint("a"))
    world.store.failures = [StoreUnavailable("full")]
    with pytest.raises(StoreUnavailable):
        await world.registry.keeper.revoke(key, "", actor="")
    assert await world.registry.keeper.renew([key]) == []
    await world.registry.keeper.revoke(key, "", actor="")
    assert world.registered() == set()


async def test_the_end_of_a_hold_that_another_stream_took(world: World) -> None:
    key = await world.register(endpoint("a"))
    first = await world.registry.keeper.attach(key, actor="")
    await world.registry.keeper.attach(key, actor="")
    assert isinstance(world.registry.keeper.end_of(first, world.registry.view), LeaseSuperseded)
    world.registry.keeper.lost(first, actor="")
    await world.settled()
    assert not world.state().suspect


async def test_a_stream_that_ends_as_the_kernel_stops_makes_nobody_suspect(world: World) -> None:
    key = await world.register(endpoint("a"))
    hold = await world.registry.keeper.attach(key, actor="")
    world.registry.stopping()
    world.registry.keeper.lost(hold, actor="")
    await world.settled()
    assert not world.state().suspect
    assert not world.events(EventType.EVENT_TYPE_LEASE_SUSPECT)
