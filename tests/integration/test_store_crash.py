from __future__ import annotations

import asyncio
import itertools
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sira_grpc.clock import SystemClock
from sira_grpc.store import Store, open_sqlite
from tests.integration.store_writer_child import SLOTS, WORKERS

ROUNDS = 100
CHILD = Path(__file__).with_name("store_writer_child.py")


@dataclass
class Acknowledged:
    """What a child has had acknowledged before it was killed: the last number of each worker, -1 for none."""

    state: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(WORKERS), -1))
    log: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(WORKERS), -1))
    lines: int = 0

    def note(self, line: bytes) -> None:
        kind, worker, number = line.split()
        last = self.state if kind == b"s" else self.log
        assert int(number) == last[int(worker)] + 1, "a child counts each worker's writes up"
        last[int(worker)] = int(number)
        self.lines += 1


@dataclass
class Known:
    """What must be in the store after all rounds so far."""

    values: dict[str, bytes] = field(default_factory=dict)
    counters: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(WORKERS), 0))
    offset: int = 0
    revision: int = 0


def run_and_kill(directory: Path, session: int, moment: int) -> Acknowledged:
    """Lets a child write until its moment-th line, then kills it. After the first line it is opening the store."""
    acknowledged = Acknowledged()
    command = [sys.executable, str(CHILD), str(directory), str(session)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=CHILD.parents[2]) as child:
        assert child.stdout is not None
        lines: Iterator[bytes] = iter(child.stdout)
        before = list(itertools.islice(lines, moment))
        child.send_signal(signal.SIGKILL)
        # What was in the pipe by then was acknowledged too.
        for line in itertools.chain(before, lines):
            if not line.startswith(b"open"):
                acknowledged.note(line)
    assert child.returncode == -signal.SIGKILL
    return acknowledged


async def verify_state(store: Store, known: Known, session: int, acknowledged: Acknowledged) -> None:
    entries = {entry.key: entry.value for entry in (await store.snapshot("")).entries}
    for worker, last in acknowledged.state.items():
        count = int(entries.get(f"counter/{worker}", b"0"))
        written = count - known.counters[worker]
        assert last + 1 <= written <= last + 2, "the commits that were acknowledged, and at most the one under way"
        known.counters[worker] = count
        for number in range(max(0, written - SLOTS), written):
            for side in ("left", "right"):
                known.values[f"{side}/{worker}/{number % SLOTS}"] = b"%d.%d" % (session, number)
    found = {key: value for key, value in entries.items() if not key.startswith("counter/")}
    assert found == known.values


async def verify_history(store: Store, known: Known) -> None:
    """The history holds whole commits and nothing of those that did not come to be."""
    assert store.revision == sum(known.counters.values())
    after = max(known.revision, store.compacted)
    feed = store.watch("", after=after)
    while after < store.revision:
        commit = await anext(feed)
        after += 1
        left, counter, right = commit.changes
        assert commit.revision == after
        assert (left.value, left.key[4:]) == (right.value, right.key[5:])
        assert counter.key.startswith("counter/")
    await feed.aclose()
    known.revision = after


async def verify_log(store: Store, known: Known, session: int, acknowledged: Acknowledged) -> None:
    written = dict.fromkeys(range(WORKERS), 0)
    while frames := await store.read("log", known.offset, max_frames=1000, max_bytes=1 << 20):
        assert frames[0].offset == known.offset
        for first, second in zip(frames[::2], frames[1::2], strict=True):
            assert first.data == second.data
            worker = int(first.data.split(b".")[1])
            assert first.data == b"%d.%d.%d" % (session, worker, written[worker])
            written[worker] += 1
        known.offset = frames[-1].offset + 1
    assert (await store.range("log")).next == known.offset
    for worker, last in acknowledged.log.items():
        assert last + 1 <= written[worker] <= last + 2


async def verify(directory: Path, known: Known, session: int, acknowledged: Acknowledged) -> None:
    store = await open_sqlite(directory, clock=SystemClock(), history_limit=500)
    try:
        await verify_state(store, known, session, acknowledged)
        await verify_history(store, known)
        await verify_log(store, known, session, acknowledged)
    finally:
        await store.close()


def test_every_acknowledged_write_outlives_a_kill_at_any_point(tmp_path: Path) -> None:
    rng = random.Random(20)
    known = Known()
    total = 0
    with asyncio.Runner() as runner:
        for session in range(ROUNDS):
            acknowledged = run_and_kill(tmp_path / "store", session, rng.choice([1, 2, *[rng.randrange(3, 500)] * 8]))
            runner.run(verify(tmp_path / "store", known, session, acknowledged))
            total += acknowledged.lines
    assert total > 50 * ROUNDS, "too few writes to have tested anything"
