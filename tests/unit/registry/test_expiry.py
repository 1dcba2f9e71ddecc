from __future__ import annotations

import asyncio

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1.event_pb2 import EventType

from sira_grpc.config import RegistryConfig
from sira_grpc.errors import StoreUnavailable
from sira_grpc.registry import expiry, names
from sira_grpc.registry.expiry import CHUNK
from sira_grpc.store import Put
from tests.unit.registry.world import DEFAULT, SERVICE, SERVING, World, endpoint

PAUSED = EventType.EVENT_TYPE_EXPIRY_PAUSED
RESUMED = EventType.EVENT_TYPE_EXPIRY_RESUMED
EXPIRED = EventType.EVENT_TYPE_EXPIRED


@pytest.fixture
def config() -> RegistryConfig:
    return RegistryConfig(self_preservation_limit=600)


async def fleet(world: World, size: int, *, ttl: float = 15) -> list[str]:
    """Registers endpoints e0, e1, ... under a lease each, and returns the keys."""
    return [await world.register(endpoint(f"e{i}"), ttl=ttl) for i in range(size)]


async def renewing(world: World, keys: list[str], *, seconds: float) -> None:
    """Lets time pass while these leases are renewed in time."""
    for _ in range(round(seconds / 5)):
        await world.registry.keeper.renew(keys)
        await world.sweep(after=5)


def paused(world: World) -> bool:
    status = world.registry.listing.service(SERVICE, FieldMask()).status
    assert status.expiry_paused == status.HasField("expiry_paused_time")
    assert world.registry.size().expiry_paused == ([SERVICE] if status.expiry_paused else [])
    return status.expiry_paused


async def test_what_nobody_renews_expires(world: World) -> None:
    keys = await fleet(world, 2)
    await world.sweep(after=14.9)
    assert world.registered() == {"e0", "e1"}
    await world.registry.keeper.renew(keys[:1])
    await world.sweep(after=0.1)
    assert world.registered() == {"e0"}
    assert await world.registry.keeper.renew(keys) == [1]
    assert [(e.resource, e.cause) for e in world.events(EXPIRED)] == [(f"{SERVICE}/endpoints/e1", "its lease expired")]


async def test_a_lease_that_is_held_does_not(world: World) -> None:
    key = await world.register(endpoint("a"))
    hold = await world.registry.keeper.attach(key, actor="")
    await world.sweep(after=1000)
    assert world.registered() == {"a"}
    world.registry.keeper.lost(hold, actor="")
    await world.sweep(after=14)
    assert world.registered() == {"a"}
    await world.sweep(after=1)
    assert world.registered() == set()


async def test_a_lease_without_endpoints_expires_too(world: World) -> None:
    await world.register()
    await world.sweep(after=15)
    assert not world.registry.view.leases


async def test_the_task_sweeps_by_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "SWEEP_SECONDS", 0.0)
    await world.register(endpoint("a"))
    feed = world.registry.view.services[SERVICE].feed
    subscriber = feed.subscribe(feed.revision)
    world.store.failures = [StoreUnavailable("full")]
    world.store.shut()
    world.clock.advance(15)
    task = asyncio.create_task(world.registry.expiry.run())
    await world.store.arrived()
    world.store.open()
    world.clock.advance(2)  # what could not be removed comes up again
    await subscriber.wait()
    assert world.registered() == set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_many_go_in_several_commits_and_come_up_again_if_one_fails(world: World) -> None:
    for i in range(CHUNK + 2):
        await world.register(endpoint("e", service=f"{DEFAULT}/services/s{i}"))
    world.clock.advance(15)
    world.store.failures = [StoreUnavailable("full")]
    with pytest.raises(StoreUnavailable):
        await world.registry.expiry.sweep()
    assert len(world.registry.view.leases) == CHUNK + 2
    await world.sweep(after=1)
    assert not world.registry.view.leases
    assert world.registry.size().endpoints == 0


async def test_what_is_renewed_while_others_expire_stays(world: World) -> None:
    services = [f"{DEFAULT}/services/s{i}" for i in range(CHUNK + 1)]
    keys = [await world.register(endpoint("e", service=service)) for service in services]
    world.clock.advance(15)
    world.store.shut()
    sweeping = asyncio.create_task(world.registry.expiry.sweep())
    await world.store.arrived()
    lost = await world.registry.keeper.renew(keys)
    held = world.registry.leases
    world.store.open()
    await sweeping
    assert len(lost) == CHUNK
    assert len(world.registry.view.leases) == 1 == len(held._tenures)
    await world.sweep(after=15)
    assert not world.registry.view.leases


async def test_a_lease_whose_registration_never_came_to_be_is_forgotten(world: World) -> None:
    world.registry.leases.created("nothing", 1.0)
    with world.registry.leases.writing("nothing"):
        await world.sweep(after=1)
        assert "nothing" in world.registry.leases._tenures
    await world.sweep(after=1)
    assert "nothing" not in world.registry.leases._tenures


async def test_a_lease_that_is_written_under_does_not_expire_meanwhile(world: World) -> None:
    key = await world.register(endpoint("a"))
    with world.registry.leases.writing(key.partition(".")[0]):
        await world.sweep(after=15)
        assert world.registered() == {"a"}
    await world.sweep(after=1)
    assert world.registered() == set()


async def test_orphans_are_swept(world: World) -> None:
    await world.register(endpoint("a", check="ttl"))
    path = names.endpoint_path(f"{SERVICE}/endpoints/b")
    await world.registry.commits.apply(lambda: [Put(names.HEALTH + path, b""), Put(names.DRAINS + path, b"")])
    await world.registry.expiry.sweep()
    assert not world.registry.view.orphans
    assert not await world.store.get(names.HEALTH + path)
    assert not await world.store.get(names.DRAINS + path)


async def test_a_record_that_found_its_endpoint_is_not_swept(world: World) -> None:
    key = names.HEALTH + names.endpoint_path(f"{SERVICE}/endpoints/a")
    await world.registry.commits.apply(lambda: [Put(key, b"")])
    assert key in world.registry.view.orphans
    await world.register(endpoint("a", check="ttl"))
    world.registry._checks.heard(f"{SERVICE}/endpoints/a", SERVING, "well")
    await world.settled()
    await world.registry.expiry.sweep()
    assert await world.store.get(key)
    assert world.resolved() == {"a"}


async def test_when_too_many_would_go_none_goes(world: World) -> None:
    keys = await fleet(world, 6)
    await renewing(world, keys[:2], seconds=15)
    assert world.registered() == {f"e{i}" for i in range(6)}
    assert paused(world)
    assert world.registry.expiry.paused_since(SERVICE) is not None
    (event,) = world.events(PAUSED)
    assert (event.resource, event.cause) == (SERVICE, "4 of 6 endpoints would expire within 15 s")
    # Enough of them come back: the last one goes.
    await renewing(world, keys[:5], seconds=5)
    assert not paused(world)
    assert len(world.events(RESUMED)) == 1
    assert world.registered() == {f"e{i}" for i in range(5)}


async def test_what_has_run_out_is_not_resolved_although_it_stays(world: World) -> None:
    keys = await fleet(world, 6)
    await renewing(world, keys[:2], seconds=15)
    assert world.registered() == {f"e{i}" for i in range(6)}
    assert world.resolved() == {"e0", "e1"}
    await world.registry.keeper.renew(keys)
    await world.settled()
    assert world.resolved() == {f"e{i}" for i in range(6)}


async def test_a_few_may_go(world: World) -> None:
    keys = await fleet(world, 6)
    await renewing(world, keys[:3], seconds=20)
    assert world.registered() == {"e0", "e1", "e2"}
    assert not paused(world)


async def test_those_that_went_a_moment_ago_count(world: World) -> None:
    keys = await fleet(world, 6)
    await renewing(world, keys[:4], seconds=15)
    assert len(world.registered()) == 4
    await renewing(world, keys[:2], seconds=10)
    assert len(world.registered()) == 4
    await renewing(world, keys[:2], seconds=5)
    assert paused(world)


async def test_those_that_went_long_ago_do_not(world: World) -> None:
    keys = await fleet(world, 8)
    await renewing(world, keys[:6], seconds=40)
    await renewing(world, keys[:4], seconds=40)
    assert world.registered() == {"e0", "e1", "e2", "e3"}
    assert not world.events(PAUSED)


async def test_a_small_service_is_never_paused(world: World) -> None:
    await fleet(world, 3)
    await world.sweep(after=15)
    assert world.registered() == set()


async def test_a_large_service_does_not_hold_up_another(world: World) -> None:
    await fleet(world, 4)
    other = f"{DEFAULT}/services/other"
    await world.register(endpoint("a", service=other))
    await world.sweep(after=15)
    assert paused(world)
    assert world.registered(other) == set()


async def test_a_pause_has_a_limit_and_then_begins_anew_only_after_it_was_well(world: World) -> None:
    keys = await fleet(world, 6)
    await world.sweep(after=15)
    assert paused(world)
    await world.sweep(after=599)
    assert len(world.registered()) == 6
    await world.registry.keeper.renew(keys[:1])
    await world.sweep(after=1)
    await world.sweep(after=1)
    assert not paused(world)
    assert world.registered() == {"e0"}
    assert world.events(RESUMED)[0].cause == "paused for 600 s, the limit"
    # Everybody is back, and well for a while: the next time counts as the first.
    await world.register(*(endpoint(f"f{i}") for i in range(3)))
    keys += [await world.register(endpoint(f"g{i}")) for i in range(8)]
    await renewing(world, keys[:1] + keys[6:], seconds=60)
    assert not world.registry.expiry._losses
    await world.sweep(after=15)
    assert paused(world)


async def test_a_service_that_is_deleted_is_no_longer_paused(world: World) -> None:
    await fleet(world, 4)
    await world.sweep(after=15)
    assert paused(world)
    await world.registry.catalog.delete_service(SERVICE, etag="", force=True, actor="")
    await world.sweep(after=1)
    assert world.registry.expiry.paused() == []
    await world.sweep(after=20)
    assert not world.registry.view.leases
    assert not world.registry.expiry._losses


async def test_lost_streams_pause_it_too(world: World) -> None:
    keys = await fleet(world, 4)
    holds = [await world.registry.keeper.attach(key, actor="") for key in keys]
    await world.settled()
    for hold in holds[:3]:
        world.registry.keeper.lost(hold, actor="")
    await world.sweep(after=15)
    assert paused(world)
    assert len(world.registered()) == 4
    assert world.resolved() == {"e3"}  # kept, but not used before those that are well
    for key in keys[:2]:
        await world.registry.keeper.attach(key, actor="")
    await world.sweep(after=1)
    assert not paused(world)
    await world.sweep(after=1)
    assert world.registered() == {"e0", "e1", "e3"}


async def test_a_restart_makes_nobody_suspect_and_evicts_nobody_who_comes_back(world: World) -> None:
    keys = await fleet(world, 6)
    for key in keys[:3]:
        await world.registry.keeper.attach(key, actor="")
    world.clock.advance(14)
    await world.restart()
    assert world.resolved() == {f"e{i}" for i in range(6)}
    assert not any(world.state(f"e{i}").suspect for i in range(6))
    world.clock.advance(14)
    await world.registry.expiry.sweep()
    assert len(world.registered()) == 6
    for key in keys[:3]:
        await world.registry.keeper.attach(key, actor="")
    await world.registry.keeper.renew(keys[3:4])
    await world.sweep(after=1)
    assert world.registered() == {"e0", "e1", "e2", "e3"}
    assert not world.events(EventType.EVENT_TYPE_LEASE_SUSPECT)


async def test_a_suspect_stays_one_over_a_restart(world: World) -> None:
    key = await world.register(endpoint("a"))
    world.registry.keeper.lost(await world.registry.keeper.attach(key, actor=""), actor="")
    await world.settled()
    await world.restart()
    assert world.state().suspect
    await world.registry.keeper.renew([key])
    await world.settled()
    assert not world.state().suspect
