from __future__ import annotations

import asyncio

import pytest
from sira.registry.v1.load_pb2 import EndpointLoad

from sira_grpc.errors import EndpointNotFound, LeaseNotFound, LeaseNotYours
from sira_grpc.registry.load import LoadTable
from tests.clocks import FakeClock
from tests.unit.registry.world import SERVICE, World, endpoint

TTL = 10.0


@pytest.fixture
def table(clock: FakeClock) -> LoadTable:
    return LoadTable(clock, ttl=TTL)


def load(name: str = "a", *, in_flight: int = 0, utilization: float = 0.0) -> EndpointLoad:
    return EndpointLoad(name=name, in_flight=in_flight, utilization=utilization)


def test_a_report_counts_for_a_while(table: LoadTable, clock: FakeClock) -> None:
    table.put(load("a", in_flight=3))
    clock.advance(TTL / 2)
    table.put(load("b"))
    assert (table["a"].in_flight, set(table), len(table)) == (3, {"a", "b"}, 2)
    clock.advance(TTL / 2 + 1)
    assert (table.get("a"), list(table), len(table)) == (None, ["b"], 1)
    assert table.get("never") is None


def test_what_callers_see_counts_until_the_endpoint_says_something(table: LoadTable, clock: FakeClock) -> None:
    table.put_observed(load(in_flight=3), ttl=20)
    clock.advance(TTL + 1)
    assert table["a"].in_flight == 3
    assert table.idle_since("a", clock.monotonic()), "who drains does not wait for callers"
    table.put_remote([load(in_flight=1)])
    table.put_observed(load(in_flight=4), ttl=20)
    assert table["a"].in_flight == 1, "it was told by the endpoint, to another member"
    clock.advance(TTL + 1)
    table.put_observed(load(in_flight=4), ttl=20)
    assert table["a"].in_flight == 4


def test_the_last_report_counts(table: LoadTable) -> None:
    table.put(load(in_flight=3))
    table.put(load(in_flight=1))
    assert table["a"].in_flight == 1


def test_what_is_gone_is_forgotten(table: LoadTable) -> None:
    table.put(load())
    table.forget("a")
    table.forget("a")
    assert table.get("a") is None
    assert not table._reports


async def test_idle_is_who_says_so_from_now_on(table: LoadTable, clock: FakeClock) -> None:
    table.put(load("a", in_flight=0))  # before: since then it may have been called
    table.put(load("b", in_flight=2))
    clock.advance(1)
    waiting = asyncio.create_task(table.all_idle(["a", "b", "never reported"]))
    await asyncio.sleep(0)
    table.put(load("a"))
    table.put(load("b", in_flight=1))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    table.put(load("b"))
    await waiting


async def test_who_is_gone_or_reports_no_longer_is_idle(clock: FakeClock) -> None:
    table = LoadTable(clock, ttl=0.01)
    table.put(load("a", in_flight=1))
    table.put(load("b", in_flight=1))
    waiting = asyncio.create_task(table.all_idle(["a", "b"]))
    await asyncio.sleep(0)
    table.forget("a")
    clock.advance(1)  # nobody is told that b's report is worth nothing any more: it is looked at now and then
    await waiting


async def test_reports_are_taken_for_endpoints_under_the_lease(world: World) -> None:
    key = await world.register(endpoint("a"), endpoint("b"))
    await world.register(endpoint("c"))
    reporter = world.registry.load_reporter(key)
    a, b, c = (f"{SERVICE}/endpoints/{i}" for i in "abc")
    reporter.report([load(a, in_flight=1), load(b)])
    with pytest.raises(LeaseNotYours):
        reporter.report([load(a, in_flight=7), load(c)])
    with pytest.raises(EndpointNotFound):
        reporter.report([load(a, in_flight=7), load(f"{SERVICE}/endpoints/x")])
    assert (world.registry.loads[a].in_flight, reporter.accepted) == (1, 2)
    assert world.registry.loads.get(c) is None
    await world.registry.keeper.revoke(key, "", actor="")
    assert len(world.registry.loads) == 0
    with pytest.raises(EndpointNotFound):
        reporter.report([load(a)])
    for wrong in (key, "x.y"):
        with pytest.raises(LeaseNotFound):
            world.registry.load_reporter(wrong)
