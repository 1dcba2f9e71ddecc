from __future__ import annotations

import asyncio

from tests.unit.registry.members import Cluster
from tests.unit.registry.world import endpoint


async def test_the_task_follows_the_placement(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    key = await a.register(endpoint("a", check="ttl"))
    await cluster.seen()
    lease = key.partition(".")[0]
    moved = asyncio.Event()
    b.registry.leases.moved.append(lambda entry: moved.set())
    for live in ({"b"}, {"a", "b"}):
        moved.clear()
        b.view_of.live = live
        for hook in b.view_of.changed:
            hook()
        await moved.wait()
        assert b.registry.leases.has(lease) == (live == {"b"})


async def test_a_registry_that_is_closed_is_told_of_no_change(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    assert b.view_of.changed
    await b.registry.close()
    assert not b.view_of.changed
    assert a.view_of.changed
