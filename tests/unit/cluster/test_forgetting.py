"""The dead are forgotten, after a while, by one member."""

from __future__ import annotations

import pytest

from sira_grpc.cluster.forgetting import DUTY, Forgetting
from sira_grpc.cluster.membership import Pause
from sira_grpc.commits import Commits
from sira_grpc.errors import NotOwner
from tests.unit.cluster.cluster_world import Node, World, never


def forgetting(node: Node, world: World, pause: Pause = never) -> Forgetting:
    cluster = node.cluster
    return Forgetting(cluster.live, cluster.duties, Commits(world.store, cluster.view), world.clock, pause)


async def test_after_a_minute_and_not_before(world: World) -> None:
    a = await world.start("a")
    b = await world.start("b")
    await world.kill(b)
    await world.beats(a, rounds=5)
    await a.cluster.duties.tend()
    assert a.live == {"a"}
    await world.beats(a, rounds=60, seconds=0.99)
    await forgetting(a, world).once()
    assert set(a.cluster.view.members) == {"a", "b"}
    await world.beats(a, rounds=2)
    await forgetting(a, world).once()
    assert set(a.cluster.view.members) == {"a"}


async def test_one_that_is_heard_again_meanwhile_is_not(world: World) -> None:
    a, b = await world.start("a"), await world.start("b")
    await world.beats(a, rounds=5)
    await a.cluster.duties.tend()
    await world.beats(a, rounds=61, seconds=1)
    (entry,) = a.cluster.live.dead_since(world.clock.monotonic() - 60)
    await world.beats(b)
    assert entry.revision < a.cluster.view.members["b"].revision
    await forgetting(a, world).once()
    assert a.live == {"a", "b"}


async def test_only_by_who_has_the_duty(world: World) -> None:
    a, b, c = [await world.start(member) for member in "abc"]
    await world.kill(c)
    await world.beats(a, b, rounds=5)
    for node in (a, b):
        await node.cluster.duties.tend()
    await world.settle()
    holders = [node for node in (a, b) if node.cluster.duties.holds(DUTY)]
    assert len(holders) == 1
    await world.beats(a, b, rounds=61, seconds=1)
    (other,) = {a, b} - set(holders)
    with pytest.raises(NotOwner):
        await forgetting(other, world).once()
    assert "c" in a.cluster.view.members
    await forgetting(holders[0], world).once()
    await world.settle()
    assert "c" not in a.cluster.view.members
