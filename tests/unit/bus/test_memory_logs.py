"""Logs in memory are logs like any other: against a simple model."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sira_grpc.bus.memory_logs import MemoryLogs
from sira_grpc.errors import StoreUnavailable
from sira_grpc.store.api import Frame, LogRange
from tests.clocks import FakeClock

NAMES = st.sampled_from(["a", "b"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), NAMES, st.integers(1, 5)),
        st.tuples(st.just("trim"), NAMES, st.integers(0, 30)),
        st.tuples(st.just("delete"), NAMES, st.just(0)),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(steps=STEPS)
async def test_they_hold_what_was_appended_and_not_trimmed(steps: list[tuple[str, str, int]]) -> None:
    clock = FakeClock()
    logs = MemoryLogs(clock, 1 << 20)
    model: dict[str, tuple[int, list[Frame]]] = {}
    for step, name, number in steps:
        clock.advance(1)
        following, frames = model.get(name, (0, []))
        if step == "append":
            new = [Frame(following + n, clock.time_ns(), f"{name}{following + n}".encode()) for n in range(number)]
            assert await logs.append(name, [frame.data for frame in new]) == following
            model[name] = following + number, frames + new
        elif step == "trim":
            await logs.trim(name, number)
            model[name] = following, [frame for frame in frames if frame.offset >= number]
        else:
            await logs.delete_partition(name)
            model.pop(name, None)
        for log in ("a", "b"):
            following, frames = model.get(log, (0, []))
            assert await logs.range(log) == LogRange(frames[0].offset if frames else following, following)
            for offset in (0, 3, following):
                expected = [frame for frame in frames if frame.offset >= offset]
                assert list(await logs.read(log, offset, max_frames=3, max_bytes=100)) == expected[:3]
                assert list(await logs.read(log, offset, max_frames=3, max_bytes=1)) == expected[:1]
            for frame in frames[:3]:
                same = next(each.offset for each in frames if each.time_ns == frame.time_ns)
                assert await logs.offset_at(log, frame.time_ns) == same
            assert await logs.offset_at(log, clock.time_ns() + 1) == following


async def test_memory_is_bounded_for_all_of_them_together() -> None:
    logs = MemoryLogs(FakeClock(), 10)
    await logs.append("a", [b"12345"])
    await logs.append("b", [b"1234"])
    with pytest.raises(StoreUnavailable, match=r"bus\.memory_bytes"):
        await logs.append("a", [b"12"])
    assert await logs.range("a") == LogRange(0, 1), "nothing was appended"
    await logs.trim("a", 1)
    await logs.append("b", [b"123456"])
    with pytest.raises(StoreUnavailable):
        await logs.append("a", [b"1"])
    await logs.delete_partition("b")
    assert await logs.append("a", [b"1234567890"]) == 1


async def test_times_never_go_back() -> None:
    clock = FakeClock()
    logs = MemoryLogs(clock, 100)
    await logs.append("a", [b"1"])
    clock.advance(-5)
    await logs.append("a", [b"2"])
    first, second = await logs.read("a", 0, max_frames=2, max_bytes=100)
    assert first.time_ns == second.time_ns
