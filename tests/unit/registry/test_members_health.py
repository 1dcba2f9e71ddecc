"""Health checks on several members: who checks what, and what becomes of it when members come and go."""

from __future__ import annotations

import pytest
from sira.registry.v1.event_pb2 import EventType
from sira.registry.v1.registry_service_pb2 import HealthReport

from sira_grpc.errors import Conflict
from sira_grpc.registry.probe_api import ProbeResult
from tests.unit.registry.members import Cluster, Member
from tests.unit.registry.world import NOT_SERVING, SERVICE, SERVING, endpoint

A = f"{SERVICE}/endpoints/a"


def checks(member: Member) -> set[str]:
    return {name.rpartition("/")[2] for name in member.registry._checks._checked}


async def healthy(member: Member) -> None:
    """Returns when a member's view has all endpoints SERVING."""
    service = member.registry.view.services[SERVICE]
    subscriber = service.feed.subscribe(service.feed.revision)
    while service.healthy < len(service.endpoints):
        await subscriber.wait()
        subscriber.position = service.feed.revision
    subscriber.close()


async def test_each_endpoint_is_probed_by_one_member(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    ids = {f"e{i}" for i in range(6)}
    await a.register(*(endpoint(i, check="tcp") for i in sorted(ids)))
    await cluster.seen()
    assert checks(a) | checks(b) == ids
    assert not checks(a) & checks(b)
    assert checks(a)
    assert checks(b)
    await healthy(a)
    assert len(a.prober.probed) + len(b.prober.probed) == 6


async def test_the_probes_of_a_dead_member_are_taken_over_soon_and_given_back(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    for member in (a, b):
        member.view_of.owners[f"probe/{A}"] = "a"
    await a.register(endpoint("a", check="tcp"))
    await healthy(a)
    await cluster.seen()
    assert (checks(a), checks(b)) == ({"a"}, set())
    since = b.state().state_time
    a.freeze()
    b.view_of.owners[f"probe/{A}"] = "b"
    await cluster.think(b, "b")
    await b.turns()
    assert b.prober.probed == [A]  # no time has passed
    assert (b.state().state, b.state().state_time) == (SERVING, since)  # it goes on from what was known
    b.view_of.owners[f"probe/{A}"] = "a"
    await cluster.think(b, "a", "b")
    assert checks(b) == set()


async def test_what_two_find_is_not_written_over_unseen(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    for member in (a, b):
        member.view_of.owners[f"probe/{A}"] = "a"
    await a.register(endpoint("a", check="tcp"))
    await healthy(a)
    await cluster.seen()
    b.view_of.owners[f"probe/{A}"] = "b"  # b thinks so, a does not know
    await cluster.think(b, "a", "b")
    await b.turns()
    b.freeze()
    a.registry._health_writer.found(A, ProbeResult(NOT_SERVING, "seen by a"))
    await cluster.seen()
    b.registry._health_writer.found(A, ProbeResult(SERVING, "stale"))
    await b.turns()
    probed = len(b.prober.probed)
    b.thaw()
    await cluster.seen()
    await b.turns()
    assert len(b.prober.probed) > probed  # it goes on from what a wrote, and looks again
    await healthy(a)
    assert a.state().cause == "told"


async def test_reports_to_another_member_reach_the_one_that_has_the_lease(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    key = await a.register(endpoint("a", check="ttl"))
    hold = await a.registry.keeper.attach(key, actor="")
    await cluster.seen()
    assert (checks(a), checks(b)) == ({"a"}, set())
    asked: list[float] = []
    deadlines = a.registry._checks._ttl._deadlines
    for _ in range(3):
        cluster.clock.advance(4)
        b.registry.health_reports.report(key, [HealthReport(name=A, state=SERVING)])
        await cluster.seen()
        assert (a.state().state, b.state().state) == (SERVING, SERVING)
        asked.append(deadlines._entries[A].due - cluster.clock.monotonic())
    assert asked == [5.0, 5.0, 5.0]  # a whole TTL each time
    assert not hold.ended.done()
    assert a.state().state_time.ToNanoseconds() == cluster.clock.time_ns() - 8_000_000_000
    assert len(b.events(EventType.EVENT_TYPE_HEALTH_CHANGED)) == 1
    b.registry.health_reports.report(key, [HealthReport(name=A, state=NOT_SERVING)])
    await cluster.seen()
    assert a.state().state == NOT_SERVING
    assert (checks(a), checks(b)) == ({"a"}, set())


async def test_a_report_is_not_lost_over_what_the_other_member_finds_meanwhile(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    key = await a.register(endpoint("a", check="ttl"))
    await cluster.seen()
    b.freeze()
    a.registry._health_writer.found(A, ProbeResult(NOT_SERVING, "silent"))
    await cluster.seen()
    b.registry.health_reports.report(key, [HealthReport(name=A, state=SERVING)])
    await b.turns()
    b.thaw()
    await cluster.seen()
    assert (a.state().state, b.state().state) == (SERVING, SERVING)


async def test_what_was_last_reported_to_a_member_that_dies_stays(cluster: Cluster) -> None:
    a, b = await cluster.add("a", "b")
    key = await a.register(endpoint("a", check="ttl"))
    a.registry.health_reports.report(key, [HealthReport(name=A, state=SERVING)])
    await cluster.seen()
    a.freeze()
    await cluster.think(b, "b")
    assert checks(b) == {"a"}
    assert b.state().state == SERVING
    b.registry.health_reports.report(key, [HealthReport(name=A, state=NOT_SERVING)])
    await cluster.seen()
    assert b.state().state == NOT_SERVING


async def test_health_is_written_where_nothing_else_was_seen_only(cluster: Cluster) -> None:
    (a,) = await cluster.add("a")
    await a.register(endpoint("a", check="ttl"))
    a.registry._health_writer.found(A, ProbeResult(SERVING, "x"))
    op = a.registry._health_writer.op(A)
    assert op is not None
    await a.settled()
    with pytest.raises(Conflict):
        await cluster.store.commit([op])
