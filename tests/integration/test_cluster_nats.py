"""Members on a real NATS cluster: one that dies is found out, and the death of a server of the store kills nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse
from sira.cluster.v1.member_pb2 import MemberState

from sira_grpc.clock import SystemClock
from sira_grpc.cluster.forgetting import DUTY
from sira_grpc.config import ClusterConfig
from sira_grpc.errors import Conflict
from sira_grpc.nats_servers import NatsCluster
from sira_grpc.store import Put
from sira_grpc.store.nats import open_nats
from sira_grpc.store.nats_names import Names
from sira_grpc.store.nats_options import NatsOptions
from tests.integration.cluster_server import Served, member

PATIENCE = 60
DEAD = MemberState.MEMBER_STATE_DEAD
ALL = frozenset("abc")


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    async with NatsCluster(tmp_path) as started:
        yield started


@pytest.fixture
async def members(servers: NatsCluster) -> AsyncIterator[list[Served]]:
    """Three members, each with a connection of its own to the store, who know each other."""
    async with AsyncExitStack() as stack, asyncio.timeout(PATIENCE):
        made = []
        for name in sorted(ALL):
            store = await open_nats(NatsOptions(url=servers.url), clock=SystemClock())
            stack.push_async_callback(store.close)
            made.append(await stack.enter_async_context(member(store, name, config=ClusterConfig())))
        for each in made:
            await sees(each, ALL)
        yield made


async def sees(served: Served, live: frozenset[str]) -> None:
    """Returns when a member sees these live, and no others."""
    changed = asyncio.Event()
    placement = served.cluster.placement
    placement.changed.append(changed.set)
    while placement.live != live:
        await changed.wait()
        changed.clear()
    placement.changed.remove(changed.set)


async def holder(served: Served, of: set[str]) -> str:
    """Returns who has the duty that every cluster has, as a member sees it, once it is one of these."""
    changed = asyncio.Event()
    view = served.cluster.view
    view.duty_changed.append(lambda name: changed.set())
    while DUTY not in view.duties or view.duties[DUTY].member not in of:
        await changed.wait()
        changed.clear()
    return view.duties[DUTY].member


async def beats(served: Served, number: int) -> None:
    """Returns when a member's heartbeat of a number, or a later one, has gone through."""
    beaten = asyncio.Event()
    membership = served.cluster.membership
    membership.beaten.append(beaten.set)
    while membership.record.beat < number or not beaten.is_set():
        beaten.clear()
        await beaten.wait()
    membership.beaten.remove(beaten.set)


async def test_a_member_that_falls_silent_is_dead_to_all_others_and_live_again_when_it_is_back(
    members: list[Served],
) -> None:
    a, b, c = members
    assert len({served.cluster.secret for served in members}) == 1
    c.link.cut = True
    for each in (a, b):
        await sees(each, frozenset("ab"))
        assert {m.name: m.state for m in (await each.read()).members}["members/c"] == DEAD
    for unit in range(100):
        assert a.cluster.placement.owner(f"bus/{unit}") == b.cluster.placement.owner(f"bus/{unit}") != "c"
    c.link.cut = False
    for each in members:
        await sees(each, ALL)


async def test_a_duty_goes_on_elsewhere_and_its_guard_stops_who_had_it(members: list[Served]) -> None:
    a, b, c = members
    duties = {each.cluster.placement.member: each for each in members}
    first = duties[await holder(a, set(ALL))]
    await holder(first, {first.cluster.placement.member})
    guard = first.cluster.duties.guard(DUTY)
    await first.link._store.commit([Put("work", b"1"), guard])
    first.link.cut = True
    others = [each for each in (a, b, c) if each is not first]
    second = duties[await holder(others[0], {each.cluster.placement.member for each in others})]
    for each in others:
        await holder(each, {second.cluster.placement.member})
    # The first one's connection is good, as if it had been held up with its commit on the way.
    with pytest.raises(Conflict):
        await first.link._store.commit([Put("work", b"2"), guard])
    await second.link._store.commit([Put("work", b"3"), second.cluster.duties.guard(DUTY)])


async def test_the_death_of_the_leader_of_the_store_kills_no_member(
    servers: NatsCluster, members: list[Served]
) -> None:
    changes: list[frozenset[str]] = []
    for each in members:
        each.cluster.placement.changed.append(lambda each=each: changes.append(each.cluster.placement.live))  # type: ignore[misc]
    health = members[0].health()
    assert (await health.read()).status == HealthCheckResponse.SERVING
    leader = await servers.stream_leader(Names(NatsOptions(url=servers.url).prefix).state)
    assert leader is not None
    before = [each.cluster.membership.record.beat for each in members]
    await leader.kill()
    # Whether or not it lasts for long enough to be seen from outside, heartbeats go on in the end, and nobody has died.
    for each, beat in zip(members, before, strict=True):
        await beats(each, beat + 10)
        assert not each.cluster.store_watch.lost
    assert not changes
    assert [each.cluster.placement.live for each in members] == [ALL] * 3
