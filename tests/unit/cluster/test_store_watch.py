"""Whether the store is there, and how old what is read meanwhile may be."""

from __future__ import annotations

import pytest

from sira_grpc.errors import StoreUnavailable
from tests.unit.cluster.cluster_world import Node, World


def followed(node: Node) -> list[bool]:
    told: list[bool] = []
    node.cluster.store_watch.changed.append(told.append)
    return told


async def test_a_shared_store_is_lost_when_no_heartbeat_goes_through(world: World) -> None:
    a = await world.start("a")
    watch, told = a.cluster.store_watch, followed(a)
    a.link.hold_up()  # nothing fails: nothing comes back
    world.clock.advance(1.9)
    watch.look()
    assert not watch.lost
    assert watch.age() is None
    world.clock.advance(0.1)
    watch.look()
    assert watch.lost
    assert watch.lost_at_ns == world.clock.time_ns()
    world.clock.advance(3)
    watch.look()
    assert watch.age() == pytest.approx(5)
    a.link.go_on()
    await world.beats(a)
    assert not watch.lost
    assert watch.lost_at_ns is None
    assert watch.age() is None
    assert told == [False, True]


async def test_a_store_is_lost_at_once_when_a_write_fails(world: World) -> None:
    a = await world.start("a")
    told = followed(a)
    a.link.cut = True
    a.cluster.store_watch.look()
    assert a.cluster.store_watch.lost
    with pytest.raises(StoreUnavailable):
        await world.beats(a)
    a.link.cut = False
    a.cluster.store_watch.look()
    assert told == [False, True]


async def test_what_nobody_else_writes_to_is_never_old(world: World) -> None:
    a = await world.start("a", shared=False)
    watch = a.cluster.store_watch
    world.clock.advance(3600)
    watch.look()
    assert not watch.lost
    assert not watch.isolated
    a.link.cut = True
    watch.look()
    assert watch.lost
    assert watch.age() is None
