from __future__ import annotations

import asyncio
from typing import cast

import pytest
from sira.kernel.v1.kernel_service_pb2 import RegistrySize
from sira.registry.v1.event_pb2 import EventType

from sira_grpc.errors import KernelStopping, StoreUnavailable
from sira_grpc.registry import registry as registry_module
from sira_grpc.store import Commit, Put, Store
from tests.clocks import FakeClock
from tests.unit.registry.world import DEFAULT, NOT_SERVING, SERVICE, SERVING, World, endpoint


async def test_an_empty_store_has_the_default_namespace_once(world: World) -> None:
    assert set(world.registry.view.namespaces) == {DEFAULT}
    await world.registry.catalog.delete_namespace(DEFAULT, etag="", force=False, actor="")
    await world.restart()
    assert not world.registry.view.namespaces  # whoever deleted it meant it


async def test_it_is_the_same_after_a_restart(world: World) -> None:
    await world.register(endpoint("a"), endpoint("b", check="ttl"))
    await world.registry.drainer.drain([f"{SERVICE}/endpoints/b"], locality=None, patience=0, cause="", actor="")
    before = {e.message.name: e.message.SerializeToString(deterministic=True) for e in world.registry.view.endpoints()}
    size, revision = world.registry.size(), world.store.revision
    await world.restart()
    after = {e.message.name: e.message.SerializeToString(deterministic=True) for e in world.registry.view.endpoints()}
    assert (after, world.registry.size(), world.store.revision) == (before, size, revision)
    assert world.registry.view.revision == revision
    assert world.events(EventType.EVENT_TYPE_CREATED, SERVICE)


async def test_how_much_it_holds(world: World) -> None:
    key = await world.register(endpoint("a"), endpoint("b", check="ttl"))
    await world.register(endpoint("c"))
    world.registry.keeper.lost(await world.registry.keeper.attach(key, actor=""), actor="")
    await world.settled()
    assert world.registry.size() == RegistrySize(
        namespaces=1, services=1, endpoints=3, healthy_endpoints=1, leases=2, suspect_leases=1
    )
    assert await asyncio.to_thread(world.registry.size) == world.registry.size()


async def test_health_is_in_the_store_before_it_is_closed(world: World) -> None:
    await world.register(endpoint("a", check="ttl"))
    world.registry._checks.heard(f"{SERVICE}/endpoints/a", SERVING, "well")
    await world.restart()
    assert world.state().state == SERVING


async def test_health_that_could_not_be_written_is_written_later(world: World) -> None:
    await world.register(endpoint("a", check="ttl"))
    for state in (SERVING, NOT_SERVING):
        world.store.failures = [StoreUnavailable("full")]
        world.registry._checks.heard(f"{SERVICE}/endpoints/a", state, "told")
        await world.settled()
        await world.settled()
        assert world.state().state == state
    assert not world.registry._health_writer._found


async def test_health_of_a_registration_that_is_gone_is_not_taken_for_the_next(world: World) -> None:
    key = await world.register(endpoint("a", check="ttl"))
    world.store.shut()
    world.registry._checks.heard(f"{SERVICE}/endpoints/a", SERVING, "the old one")
    removing = asyncio.create_task(world.registry.keeper.revoke(key, "", actor=""))
    await world.turns()
    world.store.open()
    await removing
    await world.settled()
    world.clock.advance(1)
    await world.register(endpoint("a", check="ttl"))
    assert world.resolved() == set()
    await world.restart()
    assert world.resolved() == set()


async def test_a_command_under_way_is_finished(world: World) -> None:
    await world.service()
    world.store.shut()
    registering = asyncio.create_task(world.register(endpoint("a")))
    await world.store.arrived()
    closing = asyncio.create_task(world.restart())
    await world.turns()
    world.store.open()
    await registering
    await closing
    assert world.registered() == {"a"}


async def test_a_part_that_ends_is_told_and_nobody_waits_for_ever(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError("a defect")

    def defect(commit: Commit) -> None:
        raise error

    await world.service()
    assert not world.registry.failed.is_set()
    world.store.shut()
    registering = asyncio.create_task(world.register(endpoint("a")))
    await world.store.arrived()
    following = world.registry._following
    assert following is not None
    monkeypatch.setattr(world.registry.view, "apply", defect)
    world.store.open()
    await world.registry.failed.wait()
    assert following.exception() is error
    assert "registry view ended" in caplog.text
    with pytest.raises(KernelStopping):
        await registering
    with pytest.raises(KernelStopping):
        await world.service(f"{DEFAULT}/services/other")


async def test_a_store_that_is_lost_is_told(world: World) -> None:
    await world.store.close()
    await world.registry.failed.wait()


async def test_one_that_could_not_start_can_be_closed(world: World) -> None:
    await world.stop()
    again = registry_module.Registry(
        cast(Store, world.store),
        world.prober,
        world.config,
        clock=FakeClock(),
        rng=world.registry.resolver._random,
        random_bytes=bytes,
        max_probes=1,
    )
    with pytest.raises(StoreUnavailable):
        await again.start()
    await again.close()


async def test_a_session_and_a_reporter_are_of_this_registry(world: World) -> None:
    key = await world.register(endpoint("a"))
    assert world.registry.session(actor="me").ended is None
    assert world.registry.load_reporter(key).accepted == 0


async def test_what_others_keep_in_the_store_moves_the_view_on(world: World) -> None:
    revision = await world.store.commit([Put("elsewhere/a", b"not ours"), Put("elsewhere", b"nor this")])
    await world.registry.view.caught_up(revision)
    assert world.registry.view.revision == world.store.revision
    await world.register(endpoint("a"))
    assert world.state().state == SERVING
