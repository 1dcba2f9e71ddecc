from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sira_grpc.errors import StoreCorrupt, StoreUnavailable
from sira_grpc.store.sqlite_garbage import Garbage
from sira_grpc.store.sqlite_schema import open_database
from sira_grpc.store.sqlite_writer import GROUP_BYTES, QUEUE_BYTES, GroupWriter, Job


@dataclass(slots=True, eq=False)
class NumberJob(Job[int]):
    """Writes a number as a commit's row, and is acknowledged with it."""

    number: int


class GatedArea:
    """Writes numbers; holds each group until the gate is open, and tells what it was given."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.settled: list[int] = []
        self.forgotten = 0
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.failure: Exception | None = None

    def write(self, db: sqlite3.Connection, jobs: Sequence[Job[Any]]) -> Callable[[], None]:
        numbers = [job.number for job in jobs if isinstance(job, NumberJob)]
        self.groups.append(numbers)
        self.entered.set()
        assert self.gate.wait(timeout=60)
        for number in numbers:
            db.execute("INSERT INTO history VALUES (?, 0, x'')", (number,))
        if self.failure:
            raise self.failure
        for job, number in zip(jobs, numbers, strict=True):
            job.outcome = number
        return lambda: self.settled.extend(numbers)

    def forget(self) -> None:
        self.forgotten += 1


@dataclass
class Bench:
    """A writer with one area, on a new file."""

    writer: GroupWriter
    area: GatedArea
    path: Path
    tasks: list[asyncio.Task[int]] = field(default_factory=list)

    async def submit(self, *numbers: int, size: int = 1) -> list[asyncio.Task[int]]:
        """Submits jobs and lets each get into the queue."""
        jobs = [NumberJob(self.area, size, number) for number in numbers]
        tasks = [asyncio.create_task(self.writer.submit(job)) for job in jobs]
        await asyncio.sleep(0)
        return tasks

    async def hold(self) -> asyncio.Task[int]:
        """Has the writer begin a group, which stays in flight until the gate is open."""
        (task,) = await self.submit(1)
        await asyncio.to_thread(self.area.entered.wait)
        return task

    def written(self) -> list[int]:
        db = sqlite3.connect(self.path / "sira.db")
        try:
            return [row[0] for row in db.execute("SELECT id FROM history ORDER BY id")]
        finally:
            db.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    area = GatedArea()
    writer = GroupWriter(open_database(tmp_path / "sira.db"), tmp_path, Garbage())
    yield Bench(writer, area, tmp_path)
    area.gate.set()
    await writer.close()


async def test_what_arrives_during_a_commit_is_the_next_group(bench: Bench) -> None:
    first = await bench.hold()
    rest = await bench.submit(*range(2, 102))
    bench.area.gate.set()
    assert await asyncio.gather(first, *rest) == list(range(1, 102))
    assert bench.area.groups == [[1], list(range(2, 102))]
    assert bench.written() == bench.area.settled == list(range(1, 102))


async def test_a_group_ends_at_its_size(bench: Bench) -> None:
    first = await bench.hold()
    rest = await bench.submit(*range(2, 12), size=GROUP_BYTES // 4)
    bench.area.gate.set()
    await asyncio.gather(first, *rest)
    assert [len(group) for group in bench.area.groups] == [1, 4, 4, 2]


async def test_a_failure_fails_its_group_and_not_the_next(bench: Bench) -> None:
    bench.area.failure = RuntimeError("a bug")
    first = await bench.hold()
    rest = await bench.submit(2, 3)
    bench.area.gate.set()
    outcomes = await asyncio.gather(first, *rest, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
    assert len({id(outcome) for outcome in outcomes}) == 3, "each caller raises an exception of its own"
    assert bench.area.forgotten == 2
    assert not bench.writer.writable
    assert bench.area.settled == bench.written() == []
    bench.area.failure = None
    (again,) = await bench.submit(4)
    assert await again == 4
    assert bench.writer.writable
    assert bench.written() == [4]


async def test_a_failure_of_the_file_is_told_as_what_it_is(bench: Bench) -> None:
    bench.area.gate.set()
    bench.area.failure = sqlite3.DatabaseError("malformed")
    bench.area.failure.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    (task,) = await bench.submit(1)
    with pytest.raises(StoreCorrupt, match="malformed"):
        await task


async def test_callers_beyond_the_queue_wait_for_room(bench: Bench) -> None:
    first = await bench.hold()
    rest = await bench.submit(*range(2, 5), size=QUEUE_BYTES // 2)
    bench.area.gate.set()
    await asyncio.gather(first, *rest)
    # Only one more fitted beside the first.
    assert bench.area.groups[:2] == [[1], [2]]
    assert bench.written() == [1, 2, 3, 4]


async def test_closing_finishes_the_queue_and_turns_away_who_waits_for_it(bench: Bench) -> None:
    first = await bench.hold()
    queued, waiting = await bench.submit(2, 3, size=QUEUE_BYTES - 1)
    closing = [asyncio.create_task(bench.writer.close()) for _ in range(2)]
    await asyncio.sleep(0)
    bench.area.gate.set()
    await asyncio.gather(*closing)
    assert (await first, await queued) == (1, 2)
    with pytest.raises(StoreUnavailable, match="closed"):
        await waiting
    (late,) = await bench.submit(4)
    with pytest.raises(StoreUnavailable, match="closed"):
        await late
    bench.writer.post(NumberJob(bench.area, 0, 5))
    assert bench.written() == [1, 2]


async def test_a_job_nobody_waits_for_is_done_in_its_turn(bench: Bench) -> None:
    bench.area.gate.set()
    bench.writer.post(NumberJob(bench.area, 1, 1))
    (after,) = await bench.submit(2)
    await after
    assert bench.written() == [1, 2]
    bench.area.failure = RuntimeError("nobody asks")
    bench.writer.post(NumberJob(bench.area, 1, 3))
    bench.area.failure = None
    (after,) = await bench.submit(4)
    await after


async def test_a_caller_that_is_gone_holds_nothing_up(bench: Bench) -> None:
    first = await bench.hold()
    leaving, staying = await bench.submit(2, 3)
    leaving.cancel()
    bench.area.gate.set()
    assert [await first, await staying] == [1, 3]
    assert leaving.cancelled()
    assert bench.written() == [1, 2, 3], "it was queued, and whether it is written is all the same to it"


class Heard(logging.Handler):
    """Says when something was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: queue.SimpleQueue[str] = queue.SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.put(record.getMessage())


async def test_cleaning_up_that_fails_is_logged_and_holds_nothing_up(tmp_path: Path) -> None:
    db = open_database(tmp_path / "sira.db")
    db.execute("INSERT INTO garbage (kind, low, high, crc) VALUES ('history', 0, 9, 0)")
    heard = Heard()
    logger = logging.getLogger("sira_grpc.store.sqlite_writer")
    logger.addHandler(heard)
    try:
        writer = GroupWriter(db, tmp_path, Garbage())
        message = await asyncio.to_thread(heard.messages.get, timeout=60)
    finally:
        logger.removeHandler(heard)
    assert message == f"the store at {tmp_path} could not clean up: row 1 of the garbage"
    await writer.close()
