"""What several members tell readers, and delete for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from sira.registry.v1.event_pb2 import EventType
from sira.registry.v1.load_pb2 import EndpointLoad
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.registry_service_pb2 import DrainOutcome, DrainResponse
from sira.registry.v1.resolver_service_pb2 import WatchRequest, WatchResponse
from sira.registry.v1.service_pb2 import Service

from sira_grpc.config import RegistryConfig
from sira_grpc.errors import NamespaceNotFound, RevisionAhead, ServiceNotFound
from sira_grpc.registry import names, watching
from sira_grpc.store import Delete, open_sqlite
from tests.clocks import FakeClock
from tests.unit.registry.members import Cluster, Member
from tests.unit.registry.world import SERVICE, endpoint

A = f"{SERVICE}/endpoints/a"


@pytest.fixture
def config() -> RegistryConfig:
    return RegistryConfig(self_preservation_limit=600)


class Direct:
    """Peers that are called in this process."""

    def __init__(self, *members: Member) -> None:
        self._members = members

    async def await_drain(self, endpoints: Sequence[str], revision: int, patience: float) -> tuple[int, int]:
        told = [await m.registry.drainer.await_local(endpoints, revision, patience) for m in self._members]
        return sum(notified for notified, _ in told), sum(pending for _, pending in told)


async def drain(member: Member, *, patience: float = 3600.0) -> DrainResponse:
    return await member.registry.drainer.drain([SERVICE], locality=None, patience=patience, cause="", actor="")


async def test_a_drain_waits_for_the_watchers_of_every_member(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    a.registry.drainer._peers = Direct(b)
    await a.register(endpoint("a"))
    await cluster.seen()
    messages = b.registry.watching.follow(WatchRequest(service=SERVICE))
    await anext(messages)
    draining = asyncio.create_task(drain(a))
    await anext(messages)
    await a.turns()
    assert not draining.done()
    following = asyncio.ensure_future(anext(messages))  # it comes back for more: what it had was sent
    response = await draining
    assert response.outcome == DrainOutcome.DRAIN_OUTCOME_DRAINED
    assert (response.watchers_notified, response.watchers_pending) == (1, 0)
    following.cancel()
    await asyncio.wait([following])
    await messages.aclose()


async def test_watchers_of_a_member_that_lags_are_pending(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    a.registry.drainer._peers = Direct(b)
    await a.register(endpoint("a"))
    await cluster.seen()
    messages = b.registry.watching.follow(WatchRequest(service=SERVICE))
    await anext(messages)
    b.freeze()
    response = await drain(a, patience=0)
    assert response.outcome == DrainOutcome.DRAIN_OUTCOME_DEADLINE_EXCEEDED
    assert (response.watchers_notified, response.watchers_pending) == (0, 1)
    await messages.aclose()


async def test_loads_are_followed(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    a.registry.loads.put(EndpointLoad(name="x", in_flight=1))
    loads = a.registry.loads.follow()
    assert await anext(loads) == [EndpointLoad(name="x", in_flight=1)]
    for in_flight in (2, 3):
        a.registry.loads.put(EndpointLoad(name="x", in_flight=in_flight))
    a.registry.loads.put(EndpointLoad(name="gone"))
    a.registry.loads.forget("gone")
    changed = await anext(loads)
    assert changed == [EndpointLoad(name="x", in_flight=3)]
    b.registry.loads.put_remote(changed)
    assert b.registry.loads["x"].in_flight == 3
    echo = b.registry.loads.follow()
    telling = asyncio.ensure_future(anext(echo))
    b.registry.loads.put(EndpointLoad(name="y"))
    assert [load.name for load in await telling] == ["y"]  # not what others have told
    await loads.aclose()
    await echo.aclose()
    assert not a.registry.loads._followers


async def test_many_loads_come_in_batches(cluster: Cluster) -> None:
    (a,) = await cluster.add("a")
    for i in range(1500):
        a.registry.loads.put(EndpointLoad(name=f"e{i}"))
    loads = a.registry.loads.follow()
    assert [len(await anext(loads)), len(await anext(loads))] == [1000, 500]
    await loads.aclose()


async def test_of_two_reports_of_a_load_the_newer_one_counts(cluster: Cluster) -> None:
    (a,) = await cluster.add("a")
    table = a.registry.loads
    table.put(EndpointLoad(name="x", in_flight=1))
    table.put_remote([EndpointLoad(name="x", in_flight=2)])  # it may have been under way for a while
    assert table["x"].in_flight == 1
    cluster.clock.advance(1)
    table.put_remote([EndpointLoad(name="x", in_flight=2)])
    assert table["x"].in_flight == 2
    table.put(EndpointLoad(name="x", in_flight=3))
    assert table["x"].in_flight == 3
    table.put_remote([EndpointLoad(name="y")])
    cluster.clock.advance(60)
    assert table.get("y") is None


async def test_events_of_all_members_in_the_order_of_their_times(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    for i in range(6):
        cluster.clock.advance(1)
        (a, b)[i % 2].registry.events.record(EventType.EVENT_TYPE_CREATED, "r", str(i))
    for member in (a, b):
        await member.registry.events.flush()
    for member in (a, b, a):
        page, token = await member.registry.listing.events("r", size=4, token="")
        rest, last = await (b if member is a else a).registry.listing.events("r", size=4, token=token)
        assert [e.cause for e in page + rest] == ["5", "4", "3", "2", "1", "0"]
        assert last == ""
    (c,) = await cluster.add("c")
    assert [e.cause for e in (await c.registry.listing.events("r", size=9, token=""))[0]] == list("543210")


async def test_events_are_told_as_far_as_they_are_known(cluster: Cluster) -> None:
    (a,) = await cluster.add("a")
    a.registry.events.record(EventType.EVENT_TYPE_CREATED, "r", "known")
    await a.registry.events.flush()
    await cluster.store.close()
    page, _ = await a.registry.listing.events("r", size=9, token="")
    assert [e.cause for e in page] == ["known"]


async def test_a_watch_goes_on_at_a_member_that_lags(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    await a.register(endpoint("a"))
    await cluster.seen()
    b.freeze()
    await a.register(endpoint("b"))
    start = a.registry.view.revision
    messages = b.registry.watching.follow(WatchRequest(service=SERVICE, start_revision=start))
    waiting = asyncio.ensure_future(anext(messages))
    await b.turns()
    assert not waiting.done()
    b.thaw()
    first = WatchResponse.FromString(await waiting)
    assert (first.revision, first.WhichOneof("event")) == (start, "progress")
    await messages.aclose()


async def test_a_watch_that_is_ahead_of_all_members_ends(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LAG_SECONDS", 0.01)
    (a,) = await cluster.add("a")
    await a.register(endpoint("a"))
    messages = a.registry.watching.follow(WatchRequest(service=SERVICE, start_revision=1 << 40))
    with pytest.raises(RevisionAhead):
        await anext(messages)


async def test_etags_are_alike_on_all_members(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    created = await a.registry.catalog.create_service(Service(name=SERVICE), actor="")
    await a.register(endpoint("a"))
    await cluster.seen()
    (c,) = await cluster.add("c")
    for member in (b, c):
        assert member.registry.view.service(SERVICE).message.etag == created.message.etag
        assert member.registry.view.endpoint(A).message.etag == a.registry.view.endpoint(A).message.etag


async def test_two_members_that_begin_at_once_make_one_default_namespace(tmp_path: Path, clock: FakeClock) -> None:
    store = await open_sqlite(tmp_path, clock=clock)
    both = Cluster(tmp_path, store, clock, RegistryConfig())
    members = [Member(name, tmp_path, store, clock, RegistryConfig()) for name in "ab"]
    await asyncio.gather(*(member.start() for member in members))
    both.members = members
    await both.seen()
    assert [list(m.registry.view.namespaces) for m in members] == [["namespaces/default"]] * 2
    for member in members:
        await member.stop()
    await store.close()


async def test_nothing_is_created_in_what_another_member_deletes(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    await a.registry.catalog.create_namespace(Namespace(name="namespaces/n"), actor="")
    await a.registry.catalog.create_service(Service(name=SERVICE), actor="")
    await cluster.seen()
    b.freeze()
    await a.registry.catalog.delete_namespace("namespaces/n", etag="", force=False, actor="")
    await a.registry.catalog.delete_service(SERVICE, etag="", force=False, actor="")
    creating = asyncio.create_task(b.registry.catalog.create_service(Service(name="namespaces/n/services/s"), actor=""))
    registering = asyncio.create_task(
        b.registry.registrar.register_under_new_lease([endpoint("a")], ttl=15, allow_missing_service=False, actor="")
    )
    await b.turns()
    b.thaw()
    with pytest.raises(NamespaceNotFound):
        await creating
    with pytest.raises(ServiceNotFound):
        await registering
    await cluster.seen()
    assert not b.registry.view.leases
    assert not b.registry.view.orphans


async def test_a_service_created_in_a_namespace_just_before_it_is_gone_is_swept(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    name = "namespaces/n/services/s"
    await a.registry.catalog.create_namespace(Namespace(name="namespaces/n"), actor="")
    await cluster.seen()
    a.freeze()
    await b.register(endpoint("a", service=name))
    deleting = asyncio.create_task(a.registry.catalog.delete_namespace("namespaces/n", etag="", force=False, actor=""))
    await a.store.arrived()
    await a.turns()
    a.thaw()
    await deleting
    await cluster.seen()
    assert names.service_key(name) in a.registry.view.orphans
    await cluster.pass_time(3)
    for member in (a, b):
        assert name not in member.registry.view.services
        assert not member.registry.view.orphans


async def test_a_namespace_that_is_made_anew_has_the_services_that_lost_theirs(cluster: Cluster) -> None:
    (a,) = await cluster.add("a")
    await a.service()
    await cluster.store.commit([Delete(names.namespace_key("namespaces/default"))])
    await cluster.seen()
    assert a.registry.view.orphans
    await a.registry.catalog.create_namespace(Namespace(name="namespaces/default"), actor="")
    assert a.registry.view.namespaces["namespaces/default"].services == {SERVICE}
    assert not a.registry.view.orphans


async def test_when_all_members_see_their_share_vanish_nobody_lets_it_go(cluster: Cluster) -> None:
    members = await cluster.add("a", "b", "c")
    holds = []
    for i in range(12):
        member = members[i % 3]
        key = await member.register(endpoint(f"e{i}"))
        holds.append((member, await member.registry.keeper.attach(key, actor="")))
    await cluster.seen()
    for member, hold in holds[:9]:
        member.registry.keeper.lost(hold, actor="")
    await cluster.pass_time(20)
    assert len(members[0].registered()) == 12
    assert all(member.registry.expiry.paused() == [SERVICE] for member in members)


async def test_what_others_hold_counts_as_alive(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    lost = [await a.register(endpoint(f"e{i}")) for i in range(4)]
    for i in range(4, 12):
        key = await b.register(endpoint(f"e{i}"))
        await b.registry.keeper.attach(key, actor="")
    await cluster.seen()
    for key in lost:
        a.registry.keeper.lost(await a.registry.keeper.attach(key, actor=""), actor="")
    await cluster.pass_time(16)
    assert a.registered() == {f"e{i}" for i in range(4, 12)}
