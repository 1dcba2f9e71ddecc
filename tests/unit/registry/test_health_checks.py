from __future__ import annotations

from random import Random

import pytest
from sira.registry.v1.endpoint_pb2 import Endpoint

from sira_grpc.registry.health_checks import HealthChecks
from sira_grpc.registry.probe_api import ProbeResult
from tests.unit.registry.health_fakes import (
    BAD,
    GOOD,
    NOT_SERVING,
    SERVING,
    UNKNOWN,
    Bench,
    settle,
    tcp_endpoint,
)


async def test_the_first_probe_is_at_once_and_its_answer_counts() -> None:
    bench = Bench()
    bench.checks.set(tcp_endpoint())
    await bench.answer(BAD)
    assert bench.reports == [("e1", BAD)]
    await bench.checks.close()


async def test_only_changes_of_the_settled_state_are_reported() -> None:
    bench = Bench()
    bench.checks.set(tcp_endpoint())
    await bench.answer(GOOD)
    for answer in (GOOD, BAD, BAD, GOOD, BAD, BAD, BAD, BAD, GOOD):
        await bench.next_round(answer)
    assert bench.states == [("e1", SERVING), ("e1", NOT_SERVING), ("e1", SERVING)]
    await bench.checks.close()


async def test_a_known_state_goes_on_after_a_restart() -> None:
    bench = Bench()
    bench.checks.set(tcp_endpoint(state=SERVING))
    await settle()
    assert bench.prober.asked == []  # it is known: its first probe can wait
    await bench.next_round(BAD, seconds=10)
    await bench.next_round(BAD)
    assert bench.reports == []
    await bench.next_round(BAD)
    assert bench.states == [("e1", NOT_SERVING)]
    await bench.checks.close()


async def test_what_the_server_itself_says_skips_the_thresholds() -> None:
    bench = Bench()
    bench.checks.set(tcp_endpoint())
    await bench.answer(GOOD)
    await bench.next_round(ProbeResult(NOT_SERVING, "server says NOT_SERVING", authoritative=True))
    await bench.next_round(ProbeResult(UNKNOWN, "server has no grpc.health.v1", authoritative=True))
    assert bench.states == [("e1", SERVING), ("e1", NOT_SERVING), ("e1", UNKNOWN)]
    await bench.checks.close()


async def test_a_probe_that_could_not_be_made_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.checks.set(tcp_endpoint(state=SERVING))
    blind = ProbeResult(UNKNOWN, "the kernel cannot connect: too many open files")
    for answer in (blind, blind, blind, blind, GOOD, blind):
        await bench.next_round(answer)
    assert bench.reports == []
    assert len(caplog.records) == 2  # once each time it begins
    assert "too many open files" in caplog.text
    await bench.checks.close()


async def test_a_probe_that_could_not_be_made_says_why_an_endpoint_does_not_start() -> None:
    bench = Bench()
    bench.checks.set(tcp_endpoint())
    blind = ProbeResult(UNKNOWN, "the kernel cannot connect: Too many open files")
    await bench.answer(blind)
    await bench.next_round(blind)
    await bench.next_round(BAD)
    assert bench.reports == [("e1", blind), ("e1", BAD)]
    await bench.checks.close()


async def test_a_prober_that_breaks_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.checks.set(tcp_endpoint(state=SERVING))
    bench.time.advance(10)
    (await bench.prober.questions.get()).result.set_exception(RuntimeError("a defect"))
    await settle()
    bench.time.advance(11)
    (await bench.prober.questions.get()).result.cancel()
    await settle()
    await bench.next_round(GOOD)
    assert bench.reports == []
    assert "a defect" in caplog.text
    await bench.checks.close()


@pytest.mark.parametrize("change", ["address", "port", "check"])
async def test_a_change_of_what_is_checked_begins_anew(change: str) -> None:
    bench = Bench()
    bench.checks.set(tcp_endpoint())
    await settle()
    changed = tcp_endpoint(state=SERVING)
    if change == "address":
        changed.addresses[0] = "192.0.2.2"
    elif change == "port":
        changed.port = 81
    else:
        changed.health_check.fall = 1
    bench.checks.set(changed)
    await settle()
    assert bench.prober.released == ["e1"]
    assert (await bench.prober.questions.get()).result.cancelled()
    await bench.answer(GOOD)  # at once: the new place has not been seen
    assert bench.reports == []
    await bench.checks.close()


async def test_other_changes_leave_the_check_alone() -> None:
    bench = Bench()
    bench.checks.set(tcp_endpoint())
    again = tcp_endpoint(state=NOT_SERVING)
    again.addresses.append("192.0.2.9")
    again.weight = 7
    bench.checks.set(again)
    await bench.answer(GOOD)
    assert (bench.prober.asked, bench.prober.released, bench.states) == (["e1"], [], [("e1", SERVING)])
    await bench.checks.close()


async def test_writing_to_the_endpoint_later_does_not_change_the_check() -> None:
    bench = Bench()
    endpoint = tcp_endpoint()
    bench.checks.set(endpoint)
    endpoint.port = 81
    bench.checks.set(tcp_endpoint())
    await settle()
    assert bench.prober.asked == ["e1"]
    await bench.checks.close()


async def test_without_a_check_nothing_is_probed() -> None:
    bench = Bench()
    bench.checks.set(Endpoint(name="e1", addresses=["192.0.2.1"], port=80))
    assert len(bench.checks) == 0
    bench.checks.set(tcp_endpoint())
    await settle()
    assert len(bench.checks) == 1
    bench.checks.set(Endpoint(name="e1", addresses=["192.0.2.1"], port=80))
    assert len(bench.checks) == 0
    assert bench.prober.released == ["e1"]
    await bench.checks.close()


async def test_a_removed_endpoint_is_neither_probed_nor_reported() -> None:
    bench = Bench()
    bench.checks.set(tcp_endpoint("e1"))
    bench.checks.set(tcp_endpoint("e2"))
    await settle()
    bench.checks.remove("e1")
    bench.checks.remove("unknown")
    assert await bench.answer(GOOD) == "e2"
    bench.time.advance(60)
    await settle()
    assert bench.prober.asked == ["e1", "e2", "e2"]
    assert bench.prober.released == ["e1"]
    assert bench.states == [("e2", SERVING)]
    await bench.checks.close()


async def test_the_callback_may_remove_the_endpoint() -> None:
    bench = Bench()
    checks = HealthChecks(
        bench.prober,
        lambda name, _: checks.remove(name),
        clock=bench.time,
        random=Random(7),
        max_concurrent=1,
        call_later=bench.time.call_later,
    )
    for name in ("e1", "e2"):
        checks.set(tcp_endpoint(name))
    assert [await bench.answer(GOOD), await bench.answer(GOOD)] == ["e1", "e2"]
    bench.time.advance(60)
    await settle()
    assert bench.prober.asked == ["e1", "e2"]
    assert len(checks) == 0
    await checks.close()


async def test_a_mass_start_is_limited_and_then_spread() -> None:
    bench = Bench(max_concurrent=10)
    for i in range(500):
        bench.checks.set(tcp_endpoint(f"e{i}"))
    per_second = []
    for _ in range(12):
        before = len(bench.prober.asked)
        for _ in range(200):
            bench.time.advance(0.005)
            await settle()
            assert bench.prober.questions.qsize() <= 10
            await bench.answer_all(GOOD)
        per_second.append(len(bench.prober.asked) - before)
    assert sorted(bench.states) == sorted((f"e{i}", SERVING) for i in range(500))
    assert per_second[0] >= 500
    assert all(20 < count < 100 for count in per_second[1:])  # 50, were they spread evenly
    await bench.checks.close()


async def test_jitter_moves_each_probe_by_its_share_of_the_interval() -> None:
    bench = Bench()
    endpoint = tcp_endpoint()
    endpoint.health_check.interval.FromSeconds(100)
    endpoint.health_check.jitter = 0.2
    bench.checks.set(endpoint)
    await bench.answer(GOOD)
    await bench.next_round(GOOD, seconds=100)
    gaps: list[float] = []
    for _ in range(30):
        before = bench.time.now
        while len(bench.prober.asked) < len(gaps) + 3:
            bench.time.advance(1)
            await settle()
        gaps.append(bench.time.now - before)
        await bench.answer(GOOD)
    assert all(79 <= gap <= 121 for gap in gaps[1:])
    assert max(gaps[1:]) - min(gaps[1:]) > 10
    await bench.checks.close()


async def test_close_ends_what_is_under_way() -> None:
    bench = Bench(max_concurrent=1)
    for name in ("e1", "e2"):
        bench.checks.set(tcp_endpoint(name))
    question = await bench.prober.questions.get()
    await bench.checks.close()
    await bench.checks.close()
    assert question.result.cancelled()
    assert sorted(bench.prober.released) == ["e1", "e2"]
    assert (len(bench.checks), bench.time.timers, bench.reports) == (0, 0, [])
