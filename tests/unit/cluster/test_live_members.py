"""Who is live: by heartbeats that arrive while one's own go through."""

from __future__ import annotations

import pytest
from sira.cluster.v1.member_pb2 import MemberState
from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.cluster import names
from sira_grpc.cluster.live_members import GRACE_TIMEOUTS
from sira_grpc.errors import StoreUnavailable
from sira_grpc.placement import rendezvous
from sira_grpc.store import Delete
from tests.unit.cluster.cluster_world import INTERVAL, TIMEOUT, Node, World

LIVE, STOPPING, DEAD = (
    MemberState.MEMBER_STATE_LIVE,
    MemberState.MEMBER_STATE_STOPPING,
    MemberState.MEMBER_STATE_DEAD,
)


def state(of: Node, member: str) -> MemberState.ValueType:
    return of.cluster.live.state(of.cluster.view.members[member])


async def test_members_that_beat_are_live_and_share_the_work(world: World) -> None:
    a, b = await world.start("a"), await world.start("b")
    await world.beats(a, b, rounds=20)
    assert a.live == b.live == {"a", "b"}
    units = [f"bus/{n}" for n in range(100)]
    for unit in units:
        assert a.cluster.placement.owner(unit) == b.cluster.placement.owner(unit) == rendezvous(unit, {"a", "b"})
        assert a.cluster.placement.owns(unit) is not b.cluster.placement.owns(unit)
    assert 20 < sum(a.cluster.placement.owns(unit) for unit in units) < 80


async def test_one_that_is_silent_is_dead_after_the_timeout_and_not_before(world: World) -> None:
    a, b = await world.start("a"), await world.start("b")
    await world.beats(a, b)
    changes: list[set[str]] = []
    a.cluster.placement.changed.append(lambda: changes.append(a.live))
    await world.beats(a, rounds=3)
    assert a.live == {"a", "b"}
    assert not changes
    await world.beats(a)
    assert a.live == {"a"}
    assert changes == [{"a"}]
    assert state(a, "b") == DEAD
    assert not a.cluster.placement.is_live("b")
    assert b.live == {"a", "b"}, "it judges no one while it does not beat"


async def test_clients_of_other_members_count_until_those_are_dead(world: World) -> None:
    a, b = await world.start("a"), await world.start("b")
    for node, kind in ((a, ClientKind.CLIENT_KIND_GO), (b, ClientKind.CLIENT_KIND_ENVOY)):
        node.cluster.serves(bus_namespaces=int, leases=int, client_kinds=lambda kind=kind: [kind])  # type: ignore[misc]
    assert not a.cluster.live.client_kinds()
    await world.beats(a, b)
    assert a.cluster.live.client_kinds() == {ClientKind.CLIENT_KIND_ENVOY}
    await world.beats(a, rounds=10)
    assert not a.cluster.live.client_kinds()


async def test_a_dead_one_that_beats_again_is_live_again(world: World) -> None:
    a, b = await world.start("a"), await world.start("b")
    await world.beats(a, rounds=10)
    assert a.live == {"a"}
    await world.beats(b)
    assert a.live == b.live == {"a", "b"}
    assert state(a, "b") == LIVE


async def test_a_member_that_was_held_up_gives_everybody_their_time_anew(world: World) -> None:
    a, b = await world.start("a"), await world.start("b")
    await world.beats(a, b)
    await world.beats(a, rounds=3)
    await world.beats(a, seconds=60)
    assert a.live == {"a", "b"}
    grace = round((1 + GRACE_TIMEOUTS) * TIMEOUT / INTERVAL)
    await world.beats(a, rounds=grace - 1)
    assert a.live == {"a", "b"}
    await world.beats(a)
    assert a.live == {"a"}


async def test_after_a_short_stall_the_others_have_as_much_time_on_top(world: World) -> None:
    a, b = await world.start("a"), await world.start("b")
    await world.beats(b, a)
    await world.beats(a, seconds=1.5)
    await world.beats(b, a)  # what was written before the stall, say: it does not shorten that
    await world.beats(a, rounds=7)
    assert a.live == {"a", "b"}
    await world.beats(a)
    assert a.live == {"a"}


async def test_one_that_was_held_up_while_others_were_not_has_no_more_than_a_timeout_for_the_silent(
    world: World,
) -> None:
    a, b, c = [await world.start(member) for member in "abc"]
    await world.beats(a, b, c)
    await world.beats(b, rounds=16)
    assert b.live == {"b"}
    assert a.live == {"a", "b", "c"}
    await world.beats(b, a)
    assert b.live == {"a", "b"}
    await world.beats(b, a, rounds=3)
    assert a.live == {"a", "b", "c"}
    await world.beats(b, a)
    assert a.live == {"a", "b"}


async def test_a_store_that_stalls_kills_nobody(world: World) -> None:
    a, b = await world.start("a"), await world.start("b")
    await world.beats(a, b)
    for node in (a, b):
        node.link.cut = True
    for _ in range(20):
        with pytest.raises(StoreUnavailable):
            await world.beats(a, b)
    for node in (a, b):
        node.link.cut = False
    await world.beats(a, rounds=3)
    assert a.live == b.live == {"a", "b"}
    await world.beats(a, b, rounds=5)
    assert a.live == b.live == {"a", "b"}


async def test_where_the_store_is_always_slow_the_dead_are_found_by_beats(world: World) -> None:
    a, b = await world.start("a"), await world.start("b")
    await world.beats(a, b, rounds=10, seconds=5)
    assert a.live == b.live == {"a", "b"}
    await world.beats(a, rounds=3, seconds=5)
    assert a.live == {"a", "b"}
    await world.beats(a, seconds=5)
    assert a.live == {"a"}


async def test_one_that_has_not_announced_itself_takes_no_work(world: World) -> None:
    a = await world.start("a", announce=False)
    assert a.live == {"a"}, "unless there is nobody else"
    b = await world.start("b")
    assert a.live == b.live == {"b"}
    assert a.cluster.placement.is_live("a")
    assert not b.cluster.placement.is_live("a")
    assert not a.cluster.placement.owns("bus/default")
    await a.cluster.announce(["a.example:1"])
    await world.settle()
    assert a.live == b.live == {"a", "b"}
    assert list(b.cluster.addresses.of("a")) == ["a.example:1"]
    assert list(b.cluster.addresses.of("nobody")) == []


async def test_one_that_stops_is_out_at_once_and_forgotten_when_it_has(world: World) -> None:
    a, b = await world.start("a"), await world.start("b")
    await b.cluster.leave()
    await world.settle()
    assert a.live == b.live == {"a"}
    assert state(a, "b") == state(b, "b") == STOPPING
    assert dict(a.cluster.live.counts) == {LIVE: 1, STOPPING: 1}
    await world.stop(b)
    await world.settle()
    assert set(a.cluster.view.members) == {"a"}
    assert dict(a.cluster.live.counts) == {LIVE: 1}


async def test_the_last_one_that_stops_keeps_the_work(world: World) -> None:
    a = await world.start("a")
    await a.cluster.leave()
    assert a.live == {"a"}


async def test_one_that_stops_while_the_store_is_lost_lets_go_all_the_same(world: World) -> None:
    a, b = await world.start("a"), await world.start("b")
    b.link.cut = True
    await b.cluster.leave()
    assert b.live == {"a"}
    assert a.live == {"a", "b"}


async def test_one_that_starts_takes_those_it_finds_for_live(world: World) -> None:
    a = await world.start("a")
    await world.kill(a)
    b = await world.start("b")
    assert b.live == {"a", "b"}
    await world.beats(b, rounds=4)
    assert b.live == {"b"}


async def test_one_whose_record_was_deleted_is_back_with_its_next_beat(world: World) -> None:
    a, b = await world.start("a"), await world.start("b")
    await world.store.commit([Delete(names.member_key("b"))])
    await world.settle()
    assert a.live == b.live == {"a"}
    await world.beats(b)
    assert a.live == b.live == {"a", "b"}


async def test_isolation_is_known_to_who_cannot_beat(world: World) -> None:
    a = await world.start("a")
    world.clock.advance(TIMEOUT - 0.1)
    assert not a.cluster.placement.isolated
    world.clock.advance(0.1)
    assert a.cluster.placement.isolated
    await world.beats(a)
    assert not a.cluster.placement.isolated
