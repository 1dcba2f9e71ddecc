"""What is noted of a partition now and then."""

from __future__ import annotations

import pytest
from sira.bus.internal.v1.stored_frame_pb2 import StoredFrame

import sira_grpc.bus.marks as module
from sira_grpc.bus.marks import Marks
from sira_grpc.bus.memory_logs import MemoryLogs
from sira_grpc.bus.producers import Producers
from sira_grpc.bus.record_ids import RecordIds
from sira_grpc.bus.segment import Segment
from sira_grpc.bus.stored import Held
from sira_grpc.errors import StoreUnavailable
from tests.clocks import NANOS, FakeClock
from tests.unit.bus.partition_world import TouchyLogs

WINDOW = 100 * NANOS


class World:
    """Marks in memory. reload() reads them, as opening a partition does."""

    def __init__(self) -> None:
        self.logs = TouchyLogs(MemoryLogs(FakeClock(), 1 << 20))
        self.live = Segment(self.logs, "log")
        self.reset()

    def reset(self) -> None:
        self.producers = Producers()
        self.ids = RecordIds(WINDOW)
        self.marks = Marks(self.logs, "marks", self.producers, self.ids, self.live)

    async def reload(self) -> tuple[int, int, int]:
        self.reset()
        mark = await self.marks.load()
        return mark.frame, mark.offset, mark.bytes

    def frames(self, count: int) -> None:
        """Adds frames of ten bytes to the log."""
        for number in range(self.live.next, self.live.next + count):
            self.live.appended(Held(number, StoredFrame(base_offset=number, count=1), 10))


async def test_a_mark_has_producers_ids_and_where_it_is() -> None:
    world = World()
    assert await world.reload() == (0, 0, 0)
    world.frames(3)
    world.producers.note("p", 1, 2, 0, 0)
    world.ids.note(["a"], [0], 0)
    await world.marks.save(3, 0, 0)
    world.frames(1)
    world.ids.note(["b"], [3], NANOS)
    world.producers.note("p", 3, 1, 3, 0)
    await world.marks.save(4, 0, NANOS)
    assert await world.reload() == (4, 4, 40)
    assert world.producers.next_sequence("p") == 4
    assert [world.ids.find(name, 2 * NANOS) for name in "ab"] == [0, 3]


async def test_many_ids_take_several_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDS_A_MARK", 2)
    world = World()
    world.frames(1)
    world.producers.note("p", 1, 5, 0, 0)
    world.ids.note(list("abcde"), list(range(5)), 0)
    await world.marks.save(5, 0, 0)
    assert (await world.logs.range("marks")).next == 3
    assert await world.reload() == (1, 5, 10)
    assert [world.ids.find(name, 0) for name in "abcde"] == list(range(5))
    assert world.producers.next_sequence("p") == 6


async def test_marks_that_are_of_no_use_any_more_go() -> None:
    world = World()
    for second in range(0, 300, 50):
        world.frames(1)
        world.ids.note([str(second)], [second], second * NANOS)
        await world.marks.save(second, 0, second * NANOS)
    held = await world.logs.range("marks")
    assert (held.first, held.next) == (3, 6), "the last, and those with ids that are remembered"
    await world.reload()
    assert [world.ids.find(str(second), 250 * NANOS) for second in (100, 150, 250)] == [None, 150, 250]


async def test_what_could_not_be_saved_is_in_the_next_one() -> None:
    world = World()
    told: list[str] = []
    world.marks.on_saved = lambda: told.append("saved")
    world.ids.note(["a"], [0], 0)
    world.logs.failures = [StoreUnavailable("full")]
    with pytest.raises(StoreUnavailable):
        await world.marks.save(1, 0, 0)
    assert not told
    world.ids.note(["b"], [1], 0)
    await world.marks.save(2, 0, 0)
    assert told == ["saved"]
    await world.reload()
    assert [world.ids.find(name, 0) for name in "ab"] == [0, 1]


async def test_a_log_that_has_shrunk_is_as_large_as_it_is() -> None:
    world = World()
    world.producers.note("p", 1, 2, 0, 0)
    world.frames(5)
    await world.marks.save(5, 0, 0)
    world.frames(2)
    await world.live.trim(3, 30)
    await world.marks.shrink()
    assert await world.reload() == (5, 5, 20), "of what the mark knows two frames are left"
    assert world.producers.next_sequence("p") == 3
    assert world.live.size == 40


async def test_a_shrunk_log_keeps_the_mark_with_the_producers() -> None:
    world = World()
    world.producers.note("p", 1, 2, 0, 0)
    world.frames(5)
    await world.marks.save(5, 0, 0)
    for number in range(1, 4):
        await world.live.trim(number, 10)
        await world.marks.shrink()
        await world.marks.shrink()  # nothing has changed: nothing is written
    assert (await world.logs.range("marks")).next == 4
    await world.reload()
    assert world.producers.next_sequence("p") == 3
    world.logs.failures = [StoreUnavailable("full")]
    await world.live.trim(4, 10)
    with pytest.raises(StoreUnavailable):
        await world.marks.shrink()
    await world.marks.save(6, 0, 1000 * NANOS)
    held = await world.logs.range("marks")
    assert (held.first, held.next) == (4, 5)


@pytest.mark.parametrize("bad", [b"\xff\xff", None])
async def test_none_counts_if_one_is_damaged(bad: bytes | None) -> None:
    world = World()
    world.frames(2)
    world.producers.note("p", 1, 2, 0, 0)
    await world.marks.save(2, 0, 0)
    if bad is None:
        world.logs.damaged = {("marks", 0)}
    else:
        await world.logs.append("marks", [bad])
    assert await world.reload() == (0, 0, 0)
    assert world.producers.next_sequence("p") == 1
