"""Endpoints that tell by themselves, over a stream, how they are."""

from __future__ import annotations

import pytest

from sira_grpc.registry.probe_api import ProbeResult
from tests.unit.registry.health_fakes import BAD, NOT_SERVING, SERVING, Bench, settle, tcp_endpoint

SAYS_SERVING = ProbeResult(SERVING, "server says SERVING", authoritative=True)
SAYS_NOT_SERVING = ProbeResult(NOT_SERVING, "server says NOT_SERVING", authoritative=True)


async def followed() -> Bench:
    """A bench with one endpoint that is SERVING and followed."""
    bench = Bench()
    bench.prober.followable = True
    bench.checks.set(tcp_endpoint())
    await bench.answer(SAYS_SERVING)
    assert bench.prober.follows == ["e1"]
    return bench


async def say(bench: Bench, message: ProbeResult | Exception | None) -> None:
    bench.prober.streams["e1"].put_nowait(message)
    await settle()


async def test_what_the_stream_says_counts_at_once() -> None:
    bench = await followed()
    for message in (SAYS_SERVING, SAYS_NOT_SERVING, SAYS_NOT_SERVING, SAYS_SERVING):
        await say(bench, message)
    assert bench.states == [("e1", SERVING), ("e1", NOT_SERVING), ("e1", SERVING)]
    await bench.checks.close()
    assert bench.prober.streams == {}


async def test_a_followed_endpoint_is_seldom_probed() -> None:
    bench = await followed()
    for _ in range(600):
        bench.time.advance(1)
        await settle()
        await bench.answer_all(SAYS_SERVING)
    assert 9 <= len(bench.prober.asked) <= 14  # every sixth interval
    assert len(bench.prober.follows) == 1
    await bench.checks.close()


async def test_a_long_interval_is_not_made_longer() -> None:
    bench = Bench()
    bench.prober.followable = True
    endpoint = tcp_endpoint()
    endpoint.health_check.interval.FromSeconds(600)
    endpoint.health_check.jitter = 0
    bench.checks.set(endpoint)
    await bench.answer(SAYS_SERVING)
    await bench.next_round(SAYS_SERVING, seconds=600)
    await bench.next_round(SAYS_SERVING, seconds=600)
    await bench.checks.close()


async def test_a_stream_that_ends_is_a_reason_to_probe_at_once() -> None:
    bench = await followed()
    await say(bench, None)
    await bench.answer(BAD)
    await bench.next_round(BAD)
    assert bench.states == [("e1", SERVING)]
    await bench.next_round(BAD)
    assert bench.states == [("e1", SERVING), ("e1", NOT_SERVING)]
    await bench.checks.close()


async def test_a_good_probe_follows_again_once_an_interval() -> None:
    bench = await followed()
    await say(bench, None)
    await bench.answer(SAYS_SERVING)
    assert len(bench.prober.follows) == 1  # the last stream began less than an interval ago
    await bench.next_round(SAYS_SERVING)
    assert len(bench.prober.follows) == 2
    await bench.checks.close()


async def test_a_stream_that_ends_during_a_probe_leaves_the_word_to_it() -> None:
    bench = await followed()
    bench.checks.probe_now("e1")
    await settle()
    await say(bench, None)
    await bench.answer(SAYS_SERVING)
    bench.time.advance(0.01)
    await settle()
    assert len(bench.prober.asked) == 2
    await bench.checks.close()


async def test_a_failed_probe_ends_the_stream() -> None:
    bench = await followed()
    await bench.next_round(BAD, seconds=60)
    await settle()
    assert bench.prober.streams == {}
    await bench.next_round(BAD)  # at the interval again
    await bench.next_round(SAYS_SERVING)
    assert len(bench.prober.follows) == 2
    assert bench.states == [("e1", SERVING)]
    await bench.checks.close()


async def test_the_stream_is_newer_than_a_probe_that_began_before() -> None:
    bench = await followed()
    bench.checks.probe_now("e1")
    await settle()
    await say(bench, SAYS_NOT_SERVING)
    await bench.answer(SAYS_SERVING)
    assert bench.states == [("e1", SERVING), ("e1", NOT_SERVING)]
    await bench.checks.close()


async def test_a_suspect_that_is_followed_is_probed_all_the_same() -> None:
    bench = await followed()
    bench.checks.probe_now("e1")
    await bench.answer(BAD)
    assert bench.states == [("e1", SERVING), ("e1", NOT_SERVING)]
    await bench.checks.close()


async def test_a_stream_that_breaks_in_a_way_it_should_not_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    bench = await followed()
    await say(bench, RuntimeError("a defect"))
    assert "a defect" in caplog.text
    await bench.answer(SAYS_SERVING)
    assert bench.states == [("e1", SERVING)]
    await bench.checks.close()


async def test_removing_it_ends_the_stream() -> None:
    bench = await followed()
    bench.checks.remove("e1")
    await settle()
    assert bench.prober.streams == {}
    bench.time.advance(100)
    await settle()
    assert bench.prober.asked == ["e1"]
    await bench.checks.close()
