"""The cluster as it is told: whole at once, and again when there is news."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from sira.cluster.v1.member_pb2 import Cluster, MemberState
from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.cluster.replicas import Replicas
from sira_grpc.errors import StoreUnavailable
from sira_grpc.times import seconds
from tests.unit.cluster.cluster_world import Link, World

LIVE, STOPPING, DEAD = (
    MemberState.MEMBER_STATE_LIVE,
    MemberState.MEMBER_STATE_STOPPING,
    MemberState.MEMBER_STATE_DEAD,
)
GO, C_CORE = ClientKind.CLIENT_KIND_GO, ClientKind.CLIENT_KIND_C_CORE


@dataclass(frozen=True)
class Server:
    name: str
    leader: bool = False
    current: bool = True
    offline: bool = False
    lag: int = 0


@dataclass(frozen=True)
class Servers:
    leader: str
    replicas: tuple[Server, ...]


class ReplicatedLink(Link):
    """A store that knows of replicas, as a test says they are."""

    servers = Servers("n2", (Server("n2", leader=True), Server("n1", lag=7, current=False)))
    asked = 0
    fails = False

    async def replica_state(self) -> Servers:
        self.asked += 1
        if self.fails:
            raise StoreUnavailable("nobody answers", retry_after=1)
        return self.servers


def states(cluster: Cluster) -> dict[str, MemberState.ValueType]:
    return {member.name: member.state for member in cluster.members}


async def test_everything_of_members_is_told(world: World) -> None:
    a, b = await world.start("a"), await world.start("b")
    a.cluster.serves(bus_namespaces=lambda: 3, leases=lambda: 5, client_kinds=lambda: {GO, C_CORE})
    await world.beats(b, a)
    for node in (a, b):
        await node.cluster.duties.tend()
    await world.settle()
    cluster = await b.cluster.status.read()
    assert states(cluster) == {"members/a": LIVE, "members/b": LIVE}
    assert cluster.answered_by == "members/b"
    assert cluster.revision == world.store.revision
    member = cluster.members[0]
    assert (member.host, member.version, list(member.addresses)) == ("host-a", "1", ["a.example:7400"])
    assert (member.bus_namespaces, member.leases, list(member.client_kinds)) == (3, 5, [C_CORE, GO])
    assert member.heartbeat_time.ToNanoseconds() == world.clock.time_ns()
    assert member.start_time.ToNanoseconds() < world.clock.time_ns()
    assert 0 < member.view_revision < cluster.revision
    assert seconds(member.view_lag) == 0, "time stood still from the write to the view"
    assert [duty for each in cluster.members for duty in each.duties] == ["cluster-members"]
    assert (cluster.store.engine, cluster.store.writable) == ("sqlite", True)
    assert cluster.store.revision == world.store.revision
    assert not cluster.store.replicas
    assert not cluster.store.HasField("lost_time")


async def test_a_member_on_a_store_of_its_own_is_always_fresh(world: World) -> None:
    a = await world.start("a", shared=False)
    world.clock.advance(3600)
    a.cluster.serves(bus_namespaces=lambda: 3, leases=lambda: 5, client_kinds=lambda: {GO, C_CORE})
    (member,) = (await a.cluster.status.read()).members
    assert member.heartbeat_time.ToNanoseconds() == world.clock.time_ns()
    assert (member.bus_namespaces, member.leases, list(member.client_kinds)) == (3, 5, [C_CORE, GO])


async def test_those_who_watch_are_told_of_news_and_of_nothing_else(world: World) -> None:
    a, b = await world.start("a"), await world.start("b")
    for node in (a, b):
        await node.cluster.duties.tend()
    await world.settle()
    async with aclosing(a.cluster.status.follow()) as news:
        assert states(await anext(news)) == {"members/a": LIVE, "members/b": LIVE}
        coming = asyncio.ensure_future(anext(news))
        await world.beats(a, b, rounds=10)
        assert not coming.done()
        await b.cluster.leave()
        assert states(await coming) == {"members/a": LIVE, "members/b": STOPPING}
        await world.stop(b)
        # Of what happens in between, a slow reader is told the end.
        c = await world.start("c", announce=False)
        await c.cluster.announce(["c.example:1"])
        await world.beats(a, rounds=5)
        cluster = await anext(news)
        assert states(cluster) == {"members/a": LIVE, "members/c": DEAD}


async def test_a_store_that_is_lost_and_found_is_news(world: World) -> None:
    a = await world.start("a")
    await a.cluster.duties.tend()
    async with aclosing(a.cluster.status.follow()) as news:
        assert (await anext(news)).store.writable
        a.link.cut = True
        a.cluster.store_watch.look()
        store = (await anext(news)).store
        assert not store.writable
        assert store.lost_time.ToNanoseconds() == world.clock.time_ns()
        a.link.cut = False
        await world.beats(a)
        assert (await anext(news)).store.writable


async def followed(link: ReplicatedLink, world: World) -> AsyncGenerator[Cluster, None]:
    a = await world.start("a")
    await a.cluster.duties.tend()
    status = a.cluster.status
    status._replicas = Replicas(link, world.clock)
    return status.follow()


async def test_another_leader_of_the_store_is_news(world: World) -> None:
    link = ReplicatedLink(world.store, shared=True)
    async with aclosing(await followed(link, world)) as news:
        store = (await anext(news)).store
        assert store.leader == "n2"
        assert [(r.name, r.leader, r.current, r.lag) for r in store.replicas] == [
            ("n1", False, False, 7),
            ("n2", True, True, 0),
        ]
        link.servers = Servers("n1", (Server("n1", leader=True), Server("n2", offline=True)))
        world.clock.advance(1)
        store = (await anext(news)).store
        assert (store.leader, store.replicas[1].offline) == ("n1", True)
        link.fails = True
        world.clock.advance(1)
        store = (await anext(news)).store
        assert not store.leader
        assert not store.replicas


async def test_the_engine_is_asked_once_a_second_however_many_want_to_know(world: World) -> None:
    link = ReplicatedLink(world.store, shared=True)
    replicas = Replicas(link, world.clock)
    await asyncio.gather(*(replicas.read() for _ in range(50)))
    assert link.asked == 1
    world.clock.advance(1)
    assert await replicas.read() is link.servers
    assert link.asked == 2


async def test_an_engine_without_replicas_has_none(world: World) -> None:
    replicas = Replicas(world.store, world.clock)
    assert not replicas.known
    assert await replicas.read() is None
