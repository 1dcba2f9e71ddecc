"""The life of a member: what it writes when, and what it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from sira_grpc.cluster import names
from sira_grpc.cluster.cluster import Cluster
from sira_grpc.config import ClusterConfig
from sira_grpc.store import Store
from tests.unit.cluster.cluster_world import Link, World


async def keys(world: World) -> list[str]:
    return [entry.key for entry in (await world.store.snapshot(names.PREFIX)).entries]


async def test_all_members_have_the_same_secret(world: World) -> None:
    a, b = await asyncio.gather(world.start("a"), world.start("b"))
    assert len(a.cluster.secret) == 32
    assert a.cluster.secret == b.cluster.secret
    for node in (a, b):
        await world.kill(node)
    c = await world.start("c")
    assert c.cluster.secret == a.cluster.secret


async def test_there_is_no_secret_before_the_start(world: World) -> None:
    cluster = Cluster(
        world.store,
        ClusterConfig(),
        member="x",
        version="1",
        host="h",
        clock=world.clock,
        random_bytes=bytes,
    )
    with pytest.raises(RuntimeError, match="not started"):
        _ = cluster.secret
    await cluster.close()


async def test_a_heartbeat_says_how_the_member_is(world: World) -> None:
    a, b = await world.start("a"), await world.start("b")
    a.cluster.serves(bus_namespaces=lambda: 3, leases=lambda: 5, client_kinds=tuple)
    before = b.cluster.view.members["a"].record
    await world.beats(a)
    record = b.cluster.view.members["a"].record
    assert record.beat == before.beat + 1
    assert (record.host, record.version, list(record.addresses)) == ("host-a", "1", ["a.example:7400"])
    assert (record.bus_namespaces, record.leases) == (3, 5)
    assert record.heartbeat_time.ToNanoseconds() == world.clock.time_ns()
    assert before.view_revision < record.view_revision <= b.cluster.view.revision


async def test_a_store_of_its_own_hears_little_of_a_member(world: World) -> None:
    a = await world.start("a", shared=False)
    await world.kill(a)
    assert names.member_key("a") in await keys(world)
    b = await world.start("b", shared=False)
    assert [key for key in await keys(world) if key.startswith(names.MEMBERS)] == [names.member_key("b")]
    assert b.live == {"b"}
    assert b.cluster.view.members["b"].record.beat == 1
    await world.stop(b)
    assert [key for key in await keys(world) if key.startswith(names.MEMBERS)] == []


async def test_what_an_earlier_run_has_left_counts_as_dead_if_it_cannot_be_deleted(world: World) -> None:
    await world.kill(await world.start("a", shared=False))
    link = Link(world.store, shared=False)
    link.cut = True
    b = Cluster(
        cast(Store, link),
        ClusterConfig(),
        member="b",
        version="1",
        host="h",
        clock=world.clock,
        random_bytes=bytes,
    )
    await b.start()
    await b.announce(["b.example:1"])
    assert b.placement.live == {"b"}
    assert not b.placement.is_live("a")
    await b.close()


async def test_one_that_cannot_be_announced_is_with_a_later_heartbeat(world: World) -> None:
    a = await world.start("a", announce=False)
    b = await world.start("b")
    a.link.cut = True
    await a.cluster.announce(["a.example:1"])
    assert b.live == {"b"}
    a.link.cut = False
    await world.beats(a)
    assert a.live == b.live == {"a", "b"}


INTERVAL = ClusterConfig().heartbeat_interval


class Ticks:
    """The pause between heartbeats ends when a test says so; all others never do."""

    def __init__(self) -> None:
        self.pauses = 0
        self._paused = asyncio.Condition()
        self._tick: asyncio.Future[None] | None = None

    async def __call__(self, seconds: float) -> None:
        tick = asyncio.get_running_loop().create_future()
        if seconds == INTERVAL:  # time stands still: it is never shorter
            async with self._paused:
                self.pauses += 1
                self._tick = tick
                self._paused.notify_all()
        await tick

    async def until(self, pauses: int) -> None:
        async with self._paused:
            await self._paused.wait_for(lambda: self.pauses >= pauses)

    async def tick(self) -> None:
        """Lets the next heartbeat be, and returns when it has been."""
        assert self._tick is not None
        self._tick.set_result(None)
        await self.until(self.pauses + 1)


@asynccontextmanager
async def ticking(world: World, link: Link) -> AsyncIterator[tuple[Cluster, Ticks]]:
    ticks = Ticks()
    cluster = Cluster(
        cast(Store, link),
        ClusterConfig(),
        member="a",
        version="1",
        host="h",
        clock=world.clock,
        random_bytes=bytes,
        pause=ticks,
    )
    await cluster.start()
    await ticks.until(1)
    await cluster.announce(["a.example:1"])
    try:
        yield cluster, ticks
    finally:
        link.cut = False
        await cluster.close()


async def test_heartbeats_are_written_on_though_the_store_is_lost_for_a_while(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    link = Link(world.store, shared=True)
    async with ticking(world, link) as (cluster, ticks):
        link.cut = True
        for _ in range(3):
            await ticks.tick()
        assert caplog.text.count("did not go through") == 1
        link.cut = False
        before = cluster.membership.record.beat
        for _ in range(2):
            await ticks.tick()
        assert cluster.view.members["a"].record.beat == before + 2


async def test_a_store_of_its_own_is_written_to_again_only_while_writes_fail(world: World) -> None:
    link = Link(world.store, shared=False)
    async with ticking(world, link) as (cluster, ticks):
        before = link.commits
        await ticks.tick()
        assert link.commits == before
        link.cut = True
        await ticks.tick()
        assert link.commits == before + 1
        cluster.store_watch.look()
        assert cluster.store_watch.lost


async def test_a_view_that_cannot_follow_fails_the_cluster(world: World) -> None:
    a = await world.start("a")
    await world.store.close()
    await a.cluster.failures[0].wait()
    world.nodes.remove(a)
    await a.cluster.close()
