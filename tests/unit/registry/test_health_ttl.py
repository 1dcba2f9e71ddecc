from __future__ import annotations

import pytest
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthState

from sira_grpc.errors import NoTtlCheck
from sira_grpc.registry.probe_api import ProbeResult
from tests.unit.registry.health_fakes import NOT_SERVING, SERVING, STARTING, Bench, tcp_endpoint


def ttl_endpoint(*, state: HealthState.ValueType = STARTING, ttl: float = 10) -> Endpoint:
    endpoint = Endpoint(name="e1", addresses=["192.0.2.1"], port=80)
    endpoint.health_check.ttl.ttl.FromMilliseconds(int(ttl * 1000))
    endpoint.status.state = state
    return endpoint


async def test_a_report_counts_at_once() -> None:
    bench = Bench()
    bench.checks.set(ttl_endpoint())
    bench.checks.heard("e1", SERVING, "warm")
    bench.checks.heard("e1", SERVING, "still warm")
    bench.checks.heard("e1", NOT_SERVING, "disk full")
    bench.checks.heard("e1", STARTING, "reloading")
    assert bench.reports == [
        ("e1", ProbeResult(SERVING, "warm", authoritative=True)),
        ("e1", ProbeResult(NOT_SERVING, "disk full", authoritative=True)),
        ("e1", ProbeResult(STARTING, "reloading", authoritative=True)),
    ]


async def test_silence_beyond_the_ttl_is_not_serving() -> None:
    bench = Bench()
    bench.checks.set(ttl_endpoint(state=SERVING))
    bench.time.advance(9.9)
    assert bench.reports == []
    bench.time.advance(0.2)
    assert bench.reports == [("e1", ProbeResult(NOT_SERVING, "no health report for 10s"))]


async def test_every_report_is_good_for_one_ttl() -> None:
    bench = Bench()
    bench.checks.set(ttl_endpoint(state=SERVING, ttl=0.5))
    for _ in range(10):
        bench.time.advance(0.4)
        bench.checks.heard("e1", SERVING, "")
    assert bench.reports == []
    bench.time.advance(0.6)
    assert bench.reports == [("e1", ProbeResult(NOT_SERVING, "no health report for 0.5s"))]


async def test_who_was_silent_may_come_back() -> None:
    bench = Bench()
    bench.checks.set(ttl_endpoint())
    bench.time.advance(11)
    bench.checks.heard("e1", SERVING, "back")
    bench.time.advance(5)
    assert bench.states == [("e1", NOT_SERVING), ("e1", SERVING)]
    bench.time.advance(6)
    assert bench.states[-1] == ("e1", NOT_SERVING)


async def test_who_said_not_serving_and_fell_silent_changes_nothing() -> None:
    bench = Bench()
    bench.checks.set(ttl_endpoint(state=NOT_SERVING))
    bench.time.advance(60)
    assert bench.reports == []


async def test_setting_it_again_does_not_prolong_it() -> None:
    bench = Bench()
    bench.checks.set(ttl_endpoint(state=SERVING))
    bench.time.advance(6)
    bench.checks.set(ttl_endpoint(state=SERVING))
    bench.time.advance(6)
    assert bench.states == [("e1", NOT_SERVING)]


async def test_another_ttl_counts_from_now() -> None:
    bench = Bench()
    bench.checks.set(ttl_endpoint(state=SERVING))
    bench.time.advance(6)
    bench.checks.set(ttl_endpoint(state=SERVING, ttl=20))
    bench.time.advance(19)
    assert bench.reports == []
    bench.time.advance(2)
    assert bench.states == [("e1", NOT_SERVING)]


async def test_a_report_where_there_is_no_ttl_check_is_refused() -> None:
    bench = Bench()
    bench.checks.set(tcp_endpoint("e1"))
    for name in ("e1", "e2"):
        with pytest.raises(NoTtlCheck, match=name):
            bench.checks.heard(name, SERVING, "")
    await bench.checks.close()
    assert bench.reports == []


async def test_a_removed_one_is_waited_for_no_more() -> None:
    bench = Bench()
    bench.checks.set(ttl_endpoint(state=SERVING))
    bench.checks.remove("e1")
    bench.time.advance(60)
    assert bench.reports == []
    with pytest.raises(NoTtlCheck):
        bench.checks.heard("e1", SERVING, "")


async def test_a_suspect_with_a_ttl_check_is_not_probed() -> None:
    bench = Bench()
    bench.checks.set(ttl_endpoint(state=SERVING))
    bench.checks.probe_now("e1")
    await bench.checks.close()
    assert bench.prober.asked == []
    assert bench.time.timers == 0
