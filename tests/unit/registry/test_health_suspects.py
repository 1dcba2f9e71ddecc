"""Suspects: probed before all others, and believed to be gone after one failure."""

from __future__ import annotations

from tests.unit.registry.health_fakes import BAD, GOOD, NOT_SERVING, SERVING, Bench, settle, tcp_endpoint


async def test_a_suspect_is_probed_at_once_and_one_failure_counts() -> None:
    bench = Bench()
    bench.checks.set(tcp_endpoint(state=SERVING))
    bench.checks.probe_now("e1")
    await bench.answer(BAD)
    assert bench.reports == [("e1", BAD)]
    await bench.checks.close()


async def test_a_suspect_that_answers_stays() -> None:
    bench = Bench()
    bench.checks.set(tcp_endpoint(state=SERVING))
    bench.checks.probe_now("e1")
    await bench.answer(GOOD)
    await bench.next_round(BAD)  # no suspicion any more: this one is the first of three
    assert bench.reports == []
    await bench.checks.close()


async def test_suspects_go_before_all_others() -> None:
    bench = Bench(max_concurrent=1)
    for i in range(5):
        bench.checks.set(tcp_endpoint(f"e{i}"))
    bench.checks.probe_now("e3")
    order = []
    for _ in range(5):
        order.append(await bench.answer(GOOD))
        bench.time.advance(0.005)
    assert order == ["e0", "e3", "e1", "e2", "e4"]
    await bench.checks.close()


async def test_the_failure_of_a_probe_under_way_counts_at_once() -> None:
    bench = Bench()
    bench.checks.set(tcp_endpoint())
    await bench.answer(GOOD)
    bench.time.advance(11)
    await settle()
    bench.checks.probe_now("e1")
    await bench.answer(BAD)
    assert bench.states == [("e1", SERVING), ("e1", NOT_SERVING)]
    await settle()
    assert len(bench.prober.asked) == 2
    await bench.checks.close()


async def test_the_success_of_a_probe_under_way_is_not_trusted() -> None:
    bench = Bench()
    bench.checks.set(tcp_endpoint())
    await bench.answer(GOOD)
    bench.time.advance(11)
    await settle()
    bench.checks.probe_now("e1")
    await bench.answer(GOOD)  # it may have been seen before the suspicion
    bench.time.advance(0.005)
    await bench.answer(BAD)
    assert bench.states == [("e1", SERVING), ("e1", NOT_SERVING)]
    await bench.checks.close()


async def test_an_unknown_suspect_is_nobody() -> None:
    bench = Bench()
    bench.checks.probe_now("e1")
    await settle()
    assert bench.prober.asked == []
    await bench.checks.close()
