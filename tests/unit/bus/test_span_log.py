"""A set of numbers in a log: durable when it says so, and as it was after a restart."""

from __future__ import annotations

import asyncio
import random

import pytest

from sira_grpc.bus import span_log as module
from sira_grpc.bus.memory_logs import MemoryLogs
from sira_grpc.bus.span_log import SpanLog
from sira_grpc.errors import StoreUnavailable
from tests.clocks import FakeClock
from tests.unit.bus.partition_world import TouchyLogs


@pytest.fixture
def logs() -> TouchyLogs:
    return TouchyLogs(MemoryLogs(FakeClock(), 1 << 24))


async def loaded(logs: TouchyLogs) -> SpanLog:
    spans = SpanLog(logs, "log")
    await spans.load()
    return spans


def numbers(log: SpanLog) -> set[int]:
    return {n for n in range(log.spans.end) if n in log.spans}


@pytest.mark.parametrize("snapshot_steps", [1, 3, 1000])
async def test_it_has_what_was_added_after_any_restart(
    logs: TouchyLogs, monkeypatch: pytest.MonkeyPatch, snapshot_steps: int
) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_STEPS", snapshot_steps)
    monkeypatch.setattr(module, "SPANS_A_RECORD", 2)
    monkeypatch.setattr(module, "RECORDS_AN_APPEND", 3)
    rng = random.Random(snapshot_steps)
    log, model = await loaded(logs), set[int]()
    for _ in range(60):
        ranges = [(first := rng.randrange(300), first + rng.randint(0, 3)) for _ in range(rng.randint(1, 4))]
        await log.add(ranges)
        model |= {n for first, end in ranges for n in range(first, end)}
        assert numbers(log) == model
        if rng.random() < 0.3:
            log = await loaded(logs)
            assert numbers(log) == model
    if snapshot_steps == 1:
        assert (await logs.range("log")).first > 0


async def test_what_is_there_is_not_written_again(logs: TouchyLogs) -> None:
    log = await loaded(logs)
    await log.add([(0, 5), (8, 9)])
    await log.add([(1, 4), (8, 9)])
    assert logs.appended == ["log"]


async def test_what_comes_meanwhile_is_written_together(logs: TouchyLogs) -> None:
    log = await loaded(logs)
    logs.shut()
    tasks = [asyncio.create_task(log.add([(number, number + 1)])) for number in range(20)]
    await logs.arrived()
    assert numbers(log) == set(), "it is not durable yet"
    logs.open()
    await asyncio.gather(*tasks)
    assert numbers(log) == set(range(20))
    assert len(logs.appended) <= 2


async def test_what_could_not_be_written_is_not_in_it(logs: TouchyLogs) -> None:
    log = await loaded(logs)
    logs.failures = [StoreUnavailable("full")]
    outcomes = await asyncio.gather(log.add([(0, 1)]), log.add([(1, 2)]), return_exceptions=True)
    assert isinstance(outcomes[0], StoreUnavailable)
    await log.add([(5, 6)])
    assert 0 not in log.spans
    assert numbers(await loaded(logs)) == numbers(log)


async def test_it_is_done_when_the_caller_has_gone(logs: TouchyLogs) -> None:
    log = await loaded(logs)
    logs.shut()
    task = asyncio.create_task(log.add([(3, 4)]))
    await logs.arrived()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    logs.open()
    await log.close()
    assert 3 in log.spans


async def test_a_snapshot_that_could_not_be_written_is_no_failure(
    logs: TouchyLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_STEPS", 2)
    log = await loaded(logs)
    await log.add([(0, 1)])
    logs.failures = [None, StoreUnavailable("full")]
    await log.add([(2, 3)])
    await log.close()
    assert (await logs.range("log")).first == 0
    assert numbers(await loaded(logs)) == {0, 2}


async def test_a_damaged_record_takes_nothing_else_with_it(logs: TouchyLogs, caplog: pytest.LogCaptureFixture) -> None:
    log = await loaded(logs)
    for number in range(0, 8, 2):
        await log.add([(number, number + 1)])
    logs.damaged = {("log", 1)}
    await logs.append("log", [b"\xff\xff"])
    assert numbers(await loaded(logs)) == {0, 4, 6}
    assert "frame 1 is damaged" in caplog.text
    assert "record 4 is damaged" in caplog.text
