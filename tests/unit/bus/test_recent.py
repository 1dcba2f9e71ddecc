"""The newest frames in memory: found by offset, dropped when there are too many."""

from __future__ import annotations

from sira.bus.internal.v1.stored_frame_pb2 import StoredFrame

from sira_grpc.bus.recent import RecentBudget, RecentFrames
from sira_grpc.bus.stored import Held


def held(base: int, count: int = 1, *, size: int = 10) -> Held:
    return Held(base, StoredFrame(base_offset=base, count=count), size)


def bases(frames: RecentFrames, offsets: range) -> list[int | None]:
    found = [frames.find(offset) for offset in offsets]
    return [None if each is None else each.base for each in found]


def test_a_frame_is_found_by_any_of_its_offsets() -> None:
    frames = RecentFrames(RecentBudget(1000))
    assert frames.find(0) is None
    for base, count in ((5, 2), (7, 1), (8, 3)):
        frames.add(held(base, count))
    assert bases(frames, range(4, 12)) == [None, 5, 5, 7, 8, 8, 8, None]


def test_an_offset_that_was_passed_over_finds_the_next_frame() -> None:
    frames = RecentFrames(RecentBudget(1000))
    frames.add(held(0))
    frames.add(held(10_000))
    frames.add(held(10_001))
    assert bases(frames, range(2)) == [0, 10_000]


def test_the_oldest_of_all_partitions_go_first() -> None:
    budget = RecentBudget(30)
    one, other = RecentFrames(budget), RecentFrames(budget)
    one.add(held(0))
    other.add(held(0))
    one.add(held(1))
    assert bases(one, range(2)) == [0, 1]
    other.add(held(1))
    assert bases(one, range(2)) == [None, 1]
    other.add(held(2, size=25))
    assert bases(one, range(2)) == [None, None]
    assert bases(other, range(3)) == [None, None, 2]


def test_a_frame_that_is_too_large_is_not_kept() -> None:
    frames = RecentFrames(RecentBudget(30))
    frames.add(held(0, size=31))
    assert frames.find(0) is None


def test_a_partition_that_was_closed_takes_no_room() -> None:
    budget = RecentBudget(30)
    one, other = RecentFrames(budget), RecentFrames(budget)
    one.add(held(0, size=30))
    one.clear()
    assert one.find(0) is None
    other.add(held(0, size=20))
    assert bases(other, range(1)) == [0]
