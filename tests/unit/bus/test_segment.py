"""Finding frames in a log: by offset and by time, with and without places that are known, past what is damaged."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sira.bus.internal.v1.stored_frame_pb2 import StoredFrame
from sira_client.frames import checksum, pack

from sira_grpc.bus import segment as module
from sira_grpc.bus.memory_logs import MemoryLogs
from sira_grpc.bus.segment import Place, Segment
from sira_grpc.bus.stored import Held
from sira_grpc.errors import StoreUnavailable
from tests.clocks import FakeClock
from tests.unit.bus.partition_world import TouchyLogs, records


async def filled(counts: list[int], *, noted_from: int = 0) -> tuple[Segment, TouchyLogs, list[Held]]:
    """A log of frames with so many records, each published at ten times its number; those from one on are noted."""
    logs = TouchyLogs(MemoryLogs(FakeClock(), 1 << 24))
    writer, frames, base = Segment(logs, "log"), [], 0
    for number, count in enumerate(counts):
        data = pack(records(*map(str, range(count))))
        stored = StoredFrame(base_offset=base, count=count, publish_ns=number * 10, checksum=checksum(data), frame=data)
        raw = stored.SerializeToString()
        await logs.append("log", [raw])
        held = Held(number, stored, len(raw))
        writer.appended(held)
        frames.append(held)
        base += count
    if not noted_from:
        return writer, logs, frames
    reader = Segment(logs, "log")
    await reader.open()
    for held in frames[noted_from:]:
        reader.note(held)
    reader.size = writer.size
    return reader, logs, frames


def number_of(frames: list[Held], offset: int) -> int:
    return next(held.number for held in frames if offset < held.end)


@pytest.mark.parametrize("noted_from", [0, 100, 300])
async def test_every_offset_is_found(monkeypatch: pytest.MonkeyPatch, noted_from: int) -> None:
    monkeypatch.setattr(module, "INDEX_EVERY", 7)
    rng = random.Random(1)
    segment, _, frames = await filled([rng.randint(1, 5) for _ in range(300)], noted_from=noted_from)
    for offset in range(0, frames[-1].end, 3):
        assert await segment.find(offset) == number_of(frames, offset)
    for number in range(1, 300, 7):
        assert await segment.find_time(number * 10) == number - 1
        assert await segment.find_time(number * 10 + 1) == number
    assert await segment.find_time(0) == 0


async def test_places_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INDEX_EVERY", 1)
    monkeypatch.setattr(module, "MAX_PLACES", 16)
    segment, _, frames = await filled([1] * 500)
    assert all(len(places) <= 16 for places in segment._places)
    for offset in range(500):
        assert await segment.find(offset) == number_of(frames, offset)


@settings(deadline=None, max_examples=50)
@given(
    broken=st.sets(st.integers(0, 19), max_size=12),
    trimmed=st.integers(0, 10),
    number=st.integers(0, 19),
)
async def test_what_is_broken_is_there_as_such(broken: set[int], trimmed: int, number: int) -> None:
    segment, logs, frames = await filled([2] * 20)
    await segment.trim(trimmed, sum(held.size for held in frames[:trimmed]))
    logs.damaged = {("log", each) for each in broken}
    expected = [each for each in range(max(number, trimmed), 20) if each not in broken]
    found: list[Held] = []
    start = max(number, trimmed)
    while start - 1 in broken and start > trimmed and start in broken:
        start -= 1  # those before are told of, too
    while read := await segment.read(number):
        found += read
        number = read[-1].number + 1
    assert [held.number for held in found if not held.broken] == expected
    for before, after in pairwise(found):
        assert before.end == after.base, "there is no gap"
    lost = {n for held in found if held.broken for n in range(held.base // 2, held.end // 2)}
    told = {each for each in broken if start <= each < max(expected, default=0)}
    assert lost == told or (min(told, default=99) == trimmed and trimmed > 0), "what begins a trimmed log is not known"
    for each in (number for number in range(trimmed, 20) if number not in broken):
        assert await segment.find(each * 2) <= each


async def test_a_frame_that_is_trimmed_is_not_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INDEX_EVERY", 4)
    segment, logs, frames = await filled([3] * 20)
    await segment.trim(9, sum(held.size for held in frames[:9]))
    assert (segment.first, segment.size) == (9, sum(held.size for held in frames[9:]))
    assert [held.number for held in await segment.read(0)] == list(range(9, 20))
    assert await segment.find(0) == 9
    await segment.trim(5, 1000)
    assert segment.size == sum(held.size for held in frames[9:])
    assert (await logs.range("log")).first == 9
    await segment.trim(99, segment.size)
    assert (segment.first, segment.size) == (20, 0)
    assert await segment.read(0) == []


async def test_what_the_store_could_not_trim_is_not_read() -> None:
    segment, logs, frames = await filled([1] * 5)
    logs.failing = {"log"}
    with pytest.raises(StoreUnavailable):
        await segment.trim(2, sum(held.size for held in frames[:2]))
    assert [held.number for held in await segment.read(0)] == [2, 3, 4]
    logs.failing = set()
    await segment.trim(3, frames[2].size)
    assert (await logs.range("log")).first == 3


@pytest.mark.parametrize("noted_from", [0, 10])
async def test_what_may_go_is_known_without_reading(monkeypatch: pytest.MonkeyPatch, noted_from: int) -> None:
    monkeypatch.setattr(module, "INDEX_EVERY", 5)
    segment, logs, frames = await filled([2] * 30, noted_from=noted_from)
    logs.read_frames.clear()
    size = frames[0].size

    def place(number: int) -> Place:
        return Place(number, number * 2, sum(held.size for held in frames[:number]))

    known = [number for number in range(0, 30, 5) if number >= noted_from]
    first = None if noted_from else place(0)
    assert segment.skip(before_ns=0, size=-1, offset=0) == first
    for number in range(30):
        expected = place(max(each for each in known if each <= number)) if number >= noted_from else first
        assert segment.skip(before_ns=number * 10 + 1, size=-1, offset=0) == expected
        assert segment.skip(before_ns=0, size=-1, offset=number * 2 + 1) == expected
        assert segment.skip(before_ns=0, size=place(number).size + size // 2, offset=0) == expected
    both = segment.skip(before_ns=21 * 10, size=place(26).size, offset=0)
    assert both == place(25)
    assert not logs.read_frames


async def test_measuring_reads_everything() -> None:
    writer, logs, frames = await filled([2] * 10)
    logs.damaged = {("log", 4)}
    segment = Segment(logs, "log")
    await segment.open()
    await segment.measure()
    assert segment.records == 18
    assert segment.size == segment.total == writer.size - frames[4].size
