from __future__ import annotations

from sira_grpc.registry.health_queue import ProbeQueue
from tests.unit.registry.health_fakes import FakeTime


def make(time: FakeTime, *, max_concurrent: int = 1000, max_per_second: int = 1000) -> tuple[ProbeQueue, list[str]]:
    started: list[str] = []
    queue = ProbeQueue(
        started.append,
        clock=time,
        call_later=time.call_later,
        max_concurrent=max_concurrent,
        max_per_second=max_per_second,
    )
    return queue, started


def test_no_more_than_so_many_at_once() -> None:
    queue, started = make(FakeTime(), max_concurrent=2)
    for name in "abc":
        queue.add(name)
    assert started == ["a", "b"]
    queue.finished()
    assert started == ["a", "b", "c"]
    assert len(queue) == 0


def test_no_more_than_so_many_a_second() -> None:
    time = FakeTime()
    queue, started = make(time, max_concurrent=5000, max_per_second=1000)
    for i in range(3000):
        queue.add(str(i))
    counts = []
    for _ in range(3):
        time.advance(1)
        counts.append(len(started))
    assert 950 <= counts[0] <= 1010
    assert 950 <= counts[1] - counts[0] <= 1005
    assert time.timers <= 1


def test_a_late_tick_starts_no_more_than_one_batch() -> None:
    time = FakeTime()
    queue, started = make(time, max_per_second=1000)
    for i in range(100):
        queue.add(str(i))
    time.now += 10  # the event loop was held up
    time.advance(0)
    assert len(started) <= 10


def test_the_urgent_ones_go_first() -> None:
    queue, started = make(FakeTime(), max_concurrent=1)
    for name in "abc":
        queue.add(name)
    queue.add("c", urgent=True)
    queue.add("c")
    for _ in range(3):
        queue.finished()
    assert started == ["a", "c", "b"]


def test_a_name_is_queued_once() -> None:
    queue, started = make(FakeTime(), max_concurrent=1)
    for name in "abbb":
        queue.add(name)
    assert len(queue) == 1
    queue.finished()
    queue.finished()
    assert started == ["a", "b"]


def test_what_is_discarded_is_not_started() -> None:
    queue, started = make(FakeTime(), max_concurrent=1)
    for name in "abc":
        queue.add(name)
    queue.add("c", urgent=True)
    for name in "bcx":
        queue.discard(name)
    queue.finished()
    assert started == ["a"]


def test_close_empties_it() -> None:
    time = FakeTime()
    queue, started = make(time, max_per_second=200)
    queue.add("a")
    queue.add("b")
    queue.add("c", urgent=True)
    queue.close()
    queue.close()
    time.advance(1)
    assert (started, len(queue), time.timers) == (["a"], 0, 0)
