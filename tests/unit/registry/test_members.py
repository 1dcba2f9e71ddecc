"""Leases on several members: whose they are, and what becomes of them when members die, freeze and come back."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1.event_pb2 import EventType
from sira.registry.v1.lease_pb2 import Lease, LeaseState

from sira_grpc.errors import LeaseNotFound, NotOwner, StoreUnavailable
from sira_grpc.registry import names
from tests.unit.registry.members import Cluster, Member
from tests.unit.registry.world import endpoint

TTL = 15.0
EXPIRED = EventType.EVENT_TYPE_EXPIRED


def id_of(key: str) -> str:
    return key.partition(".")[0]


def told(member: Member, key: str) -> Lease:
    return member.registry.listing.lease(names.lease_name(id_of(key)), FieldMask())


def has(member: Member, key: str) -> bool:
    """Whether a lease is with a member, as that one sees it."""
    return not member.registry.leases[id_of(key)].elsewhere


async def test_only_the_member_that_has_a_lease_lets_it_expire(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    key = await a.register(endpoint("a"))
    await cluster.seen()
    assert (has(a, key), has(b, key)) == (True, False)
    assert b.registry.leases.count_here() == 0
    assert b.resolved() == {"a"}
    a.freeze()
    await cluster.pass_time(10 * TTL)
    assert b.registered() == {"a"}
    a.thaw()
    await cluster.pass_time(2)  # it renews nothing while it is frozen, but what it has not heard of is past its TTL
    await cluster.pass_time(10 * TTL)
    assert b.registered() == set()
    assert [e.resource for e in a.events(EXPIRED)] == [f"{names.service_of(endpoint('a').name)}/endpoints/a"]
    assert not b.events(EXPIRED)


async def test_a_lease_at_another_member_as_it_is_told(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    key = await a.register(endpoint("a"), ttl=TTL)
    hold = await a.registry.keeper.attach(key, actor="")
    await cluster.seen()
    assert (told(b, key).state, told(b, key).HasField("expire_time")) == (LeaseState.LEASE_STATE_HELD, False)
    a.registry.keeper.lost(hold, actor="")
    await cluster.seen()
    lease = told(b, key)
    assert lease.state == LeaseState.LEASE_STATE_SUSPECT
    assert lease.expire_time == told(a, key).expire_time
    await a.registry.keeper.attach(key, actor="")
    await cluster.seen()
    b.view_of.owners[f"lease/{id_of(key)}"] = "c"
    await cluster.think(b, "b", "c")
    assert told(b, key).state == LeaseState.LEASE_STATE_RECOVERING


async def test_who_comes_back_at_another_member_when_its_own_dies_is_never_evicted(cluster: Cluster) -> None:
    a, b, c = await cluster.add("a", "b", "c")
    keys = [await a.register(endpoint(f"e{i}"), ttl=TTL) for i in range(30)]
    for key in keys[:10]:
        await a.registry.keeper.attach(key, actor="")
    await cluster.seen()
    a.freeze()
    await cluster.pass_time(TTL - 1)  # nobody knows yet
    await cluster.live("b", "c")
    adopted = [(has(b, key), has(c, key)) for key in keys]
    assert set(adopted) == {(True, False), (False, True)}
    await cluster.pass_time(TTL - 1)
    holds = [await (b, c)[i % 2].registry.keeper.attach(key, actor="") for i, key in enumerate(keys[:10])]
    assert await b.registry.keeper.renew(keys[10:25]) == []
    came_back = {f"e{i}" for i in range(25)}
    assert b.registered() == came_back | {f"e{i}" for i in range(25, 30)}
    await cluster.pass_time(1)
    assert b.registered() == came_back
    await cluster.pass_time(TTL - 2)
    assert b.registered() == came_back
    assert await c.registry.keeper.renew(keys[10:25]) == []
    assert not any(hold.ended.done() for hold in holds)
    assert all(has(c, key) and not has(b, key) for key in keys[10:25])
    a.thaw()
    await cluster.live("a", "b", "c")
    await cluster.pass_time(TTL - 1)
    assert b.registered() == came_back == a.registered()


async def test_attaching_at_another_member_takes_the_lease_over(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    key = await a.register(endpoint("a"))
    first = await a.registry.keeper.attach(key, actor="")
    await cluster.seen()
    second = await b.registry.keeper.attach(key, actor="")
    await cluster.seen()
    assert first.ended.done()
    assert isinstance(a.registry.keeper.end_of(first, a.registry.view), NotOwner)
    assert (has(a, key), has(b, key)) == (False, True)
    a.registry.keeper.lost(first, actor="")
    await a.registry.keeper.release(first, actor="")
    await cluster.pass_time(3 * TTL)
    assert a.resolved() == b.resolved() == {"a"}
    assert not second.ended.done()
    await b.registry.keeper.release(second, actor="")
    await cluster.seen()
    assert a.registered() == set()


async def test_who_releases_what_another_member_took_over_unseen_ends_nothing(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    key = await a.register(endpoint("a"))
    first = await a.registry.keeper.attach(key, actor="")
    await cluster.seen()
    a.freeze()
    await b.registry.keeper.attach(key, actor="")
    releasing = asyncio.create_task(a.registry.keeper.release(first, actor=""))
    await a.store.arrived()
    a.thaw()
    await releasing
    await cluster.seen()
    assert b.registered() == {"a"}
    assert first.ended.done()


async def test_a_suspect_that_is_heard_of_at_another_member_is_one_no_more(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    keys = [await a.register(endpoint(i)) for i in "xyz"]
    for key in keys:
        a.registry.keeper.lost(await a.registry.keeper.attach(key, actor=""), actor="")
    await cluster.seen()
    assert b.state("x").suspect
    await b.registry.keeper.attach(keys[0], actor="")
    assert await b.registry.keeper.renew(keys[1:]) == []
    await cluster.seen()
    assert not any(a.state(i).suspect for i in "xyz")
    assert len(b.events(EventType.EVENT_TYPE_LEASE_RECOVERED)) == 3


async def test_a_frozen_member_expires_nothing_that_was_taken_over(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    keys = [await a.register(endpoint(f"e{i}"), ttl=TTL) for i in range(3)]
    await cluster.pass_time(TTL - 1)
    a.freeze()
    assert await b.registry.keeper.renew(keys[:2]) == []
    a.clock.advance(1)
    a.registry.expiry._pulse._looked_at = -1  # its store took a write a moment ago
    sweeping = asyncio.create_task(a.registry.expiry.sweep())
    await a.store.arrived()
    a.thaw()
    await sweeping
    await cluster.seen()
    assert b.registered() == {"e0", "e1"}
    assert [e.resource.rpartition("/")[2] for e in a.events(EXPIRED)] == ["e2"]


async def test_what_a_frozen_member_makes_suspect_does_not_take_it_back(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    key = await a.register(endpoint("a"))
    hold = await a.registry.keeper.attach(key, actor="")
    await cluster.seen()
    a.freeze()
    await b.registry.keeper.attach(key, actor="")
    a.registry.keeper.lost(hold, actor="")
    await a.turns()
    a.thaw()
    await cluster.seen()
    assert a.registry.view.leases[id_of(key)].record.member == "b"
    assert not a.state().suspect


async def test_a_member_that_was_only_slow_has_its_leases_again(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    key = await a.register(endpoint("a"), ttl=TTL)
    await cluster.seen()
    await cluster.think(b, "b")
    assert has(b, key)
    await cluster.pass_time(TTL - 2)
    await cluster.think(b, "a", "b")
    assert not has(b, key)
    assert await a.registry.keeper.renew([key]) == []
    await cluster.pass_time(TTL - 1)
    assert b.registered() == {"a"}


async def test_a_lease_whose_adopter_changes_has_its_grace_anew(cluster: Cluster) -> None:
    a, b, c = await cluster.add("a", "b", "c")
    key = await a.register(endpoint("a"), ttl=TTL)
    await cluster.seen()
    a.freeze()
    for member in (b, c):
        member.view_of.owners[f"lease/{id_of(key)}"] = "b"
        await cluster.think(member, "b", "c")
    await cluster.pass_time(TTL - 1)
    for member in (b, c):
        member.view_of.owners[f"lease/{id_of(key)}"] = "c"
        await cluster.think(member, "b", "c")
    assert (has(b, key), has(c, key)) == (False, True)
    await cluster.pass_time(TTL - 1)
    assert c.registered() == {"a"}
    await cluster.pass_time(1)
    assert c.registered() == set()
    assert (len(b.events(EXPIRED)), len(c.events(EXPIRED))) == (0, 1)


async def test_a_member_that_starts_leaves_what_others_have(cluster: Cluster) -> None:
    (a,) = await cluster.add("a")
    key = await a.register(endpoint("a"), ttl=TTL)
    (b,) = await cluster.add("b")
    assert not has(b, key)
    await a.registry.keeper.attach(key, actor="")
    await cluster.pass_time(2 * TTL)
    assert b.registered() == {"a"}


async def test_renewing_at_another_member_names_what_is_gone(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    keys = [await a.register(endpoint(f"e{i}"), ttl=TTL) for i in range(4)]
    await cluster.seen()
    await a.registry.keeper.revoke(keys[1], "", actor="")
    lost = await b.registry.keeper.renew([keys[0], keys[1], "x.y", keys[2], keys[0], keys[3]])
    assert lost == [1, 2]
    before = cluster.store.revision
    assert await b.registry.keeper.renew([keys[0], keys[2]]) == []
    assert cluster.store.revision == before  # it has them now


async def test_two_members_that_claim_one_lease_agree_on_one(cluster: Cluster) -> None:
    a, b, c = await cluster.add("a", "b", "c")
    key = await a.register(endpoint("a"))
    await cluster.seen()
    answers = await asyncio.gather(*(m.registry.keeper.renew([key]) for m in (b, c)))
    assert answers == [[], []]
    await cluster.seen()
    assert [has(m, key) for m in (a, b, c)].count(True) == 1


async def test_without_a_store_only_what_is_here_can_be_renewed(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    key, adopted = await a.register(endpoint("a")), await a.register(endpoint("b"))
    await cluster.seen()
    b.store.failures = [StoreUnavailable("lost")]
    with pytest.raises(StoreUnavailable):
        await b.registry.keeper.renew([key])
    assert not has(b, key)
    await cluster.think(b, "b")
    b.store.failures = [StoreUnavailable("lost")]
    assert await b.registry.keeper.renew([adopted]) == []
    assert told(b, adopted).state == LeaseState.LEASE_STATE_RENEWED
    await cluster.seen()
    assert b.registry.view.leases[id_of(adopted)].record.member == "b"  # written when the store could again


async def test_while_the_store_stalls_nothing_expires(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    key = await a.register(endpoint("a"), ttl=TTL)
    await cluster.seen()
    await cluster.pass_time(TTL - 1)
    cluster.stalled = True
    await cluster.pass_time(100)
    assert a.registered() == {"a"}
    cluster.stalled = False
    await cluster.pass_time(5)
    assert a.registered() == {"a"}  # as long again for its client to come back, 5 s at most
    assert await b.registry.keeper.renew([key]) == []
    await cluster.pass_time(TTL - 1)
    assert a.registered() == {"a"}
    await cluster.pass_time(1)
    assert a.registered() == set()


async def test_a_member_that_was_stopped_hears_first(cluster: Cluster) -> None:
    (a,) = await cluster.add("a")
    await a.register(endpoint("a"), ttl=TTL)
    cluster.clock.advance(10 * TTL)
    a.registry.expiry._pulse.slept(10 * TTL)
    await cluster.pass_time(TTL - 1)
    assert a.registered() == {"a"}
    await cluster.pass_time(1)
    assert a.registered() == set()


async def test_nothing_is_registered_under_a_lease_that_another_member_ends(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    key = await a.register(endpoint("a"))
    await cluster.seen()
    b.freeze()
    await a.registry.keeper.revoke(key, "", actor="")
    registering = asyncio.create_task(
        b.registry.registrar.register([endpoint("b")], lease_key=key, allow_missing_service=True, actor="")
    )
    await b.store.arrived()
    b.thaw()
    with pytest.raises(LeaseNotFound):
        await registering
    await cluster.seen()
    assert a.registered() == set()
    assert not a.registry.view.orphans


async def test_registering_from_any_member(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    key = await a.register(endpoint("a"))
    await cluster.seen()
    await b.registry.registrar.register([endpoint("b")], lease_key=key, allow_missing_service=False, actor="")
    await cluster.seen()
    assert a.registered() == {"a", "b"}
    assert has(a, key)
    await b.registry.registrar.deregister([endpoint("a").name], lease_key=key, actor="")
    await b.registry.keeper.revoke(key, "", actor="")
    await cluster.seen()
    assert a.registered() == set()
