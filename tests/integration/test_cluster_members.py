"""Members, as their clients see them: who is there, and what becomes of reads and readiness while the store is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from grpc_health.v1.health_pb2 import HealthCheckResponse
from sira.cluster.v1.member_pb2 import MemberState
from sira.registry.v1.resolver_service_pb2 import ResolveRequest

from sira_grpc.clock import SystemClock
from sira_grpc.store import Store, open_sqlite
from tests.integration.cluster_server import Served, member
from tests.integration.edge_server import SERVICE, Failure, failure

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
LIVE, STOPPING, DEAD = (
    MemberState.MEMBER_STATE_LIVE,
    MemberState.MEMBER_STATE_STOPPING,
    MemberState.MEMBER_STATE_DEAD,
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_sqlite(tmp_path, clock=SystemClock())
    yield opened
    await opened.close()


def states(cluster: Any) -> dict[str, MemberState.ValueType]:
    return {each.name.removeprefix("members/"): each.state for each in cluster.members}


async def until(stream: Any, *expected: dict[str, MemberState.ValueType]) -> None:
    """Reads a watch until the members are as they should be, one thing after the other; there may be more between."""
    for states_then in expected:
        while states((await stream.read()).cluster) != states_then:
            pass


async def ended(stream: Any) -> Failure:
    """Reads a stream to its end, which must be a failure, without a word of SERVING."""

    async def read_on() -> None:
        while (message := await stream.read()) is not aio.EOF:
            assert getattr(message, "status", None) != SERVING

    return await failure(read_on())


async def age_of(served: Served) -> int | None:
    """What a read says of its age."""
    call = served.resolver.Resolve(ResolveRequest(service=SERVICE))
    assert (await call).revision == 1, "it is answered"
    marks: dict[str, str] = dict(await call.trailing_metadata())
    return int(marks["sira-view-age-ms"]) if "sira-view-age-ms" in marks else None


async def test_members_come_stop_die_and_go(store: Store) -> None:
    async with member(store, "a") as a:
        watch = a.watch()
        async with member(store, "b") as b:
            await until(watch, {"a": LIVE, "b": LIVE})
            assert states(await b.read()) == {"a": LIVE, "b": LIVE}
            assert (await b.read()).answered_by == "members/b"
            assert list((await a.read()).members[1].addresses) == list(b.server.addresses)
            b.link.cut = True
            await until(watch, {"a": LIVE, "b": DEAD})
            b.link.cut = False
            await until(watch, {"a": LIVE, "b": LIVE})
        await until(watch, {"a": LIVE, "b": STOPPING}, {"a": LIVE})


async def test_readiness_follows_the_store_and_reads_are_marked_meanwhile(store: Store) -> None:
    async with member(store, "a") as a:
        health = a.health()
        assert (await health.read()).status == SERVING
        assert await age_of(a) is None
        a.link.hold_up()  # nothing fails at once: nothing comes back
        assert (await health.read()).status == NOT_SERVING
        age = await age_of(a)
        assert age is not None
        assert age >= 300
        lost = await a.read()
        assert not lost.store.writable
        assert lost.store.HasField("lost_time")
        a.link.go_on()
        assert (await health.read()).status == SERVING
        assert await age_of(a) is None
        assert (await a.read()).store.writable


async def test_a_watch_ends_when_the_member_stops_and_readiness_does_not_come_back(store: Store) -> None:
    async with member(store, "a") as a:
        health, watch = a.health(), a.watch()
        assert (await health.read()).status == SERVING
        await watch.read()
        await a.server.drain()
        assert (await health.read()).status == NOT_SERVING
        for there in (False, True):
            a.server.available(there)
        for stream in (health, watch):
            assert (await ended(stream)).reason == "KERNEL_STOPPING"
