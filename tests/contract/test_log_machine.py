from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from sira_grpc.errors import Conflict
from sira_grpc.store import LogRange
from tests.contract.engines import Engine
from tests.contract.machine import StoreMachine, check

PARTITIONS = st.sampled_from(["orders/0", "orders/1", "other"])
FRAMES = st.lists(st.binary(max_size=20) | st.just(b"large" * 2000), min_size=1, max_size=6)


@dataclass
class Model:
    """A partition: every frame since its first append, and the first that has not been trimmed."""

    frames: list[bytes] = field(default_factory=list)
    first: int = 0


class LogMachine(StoreMachine):
    """The logs against lists of frames."""

    def __init__(self) -> None:
        super().__init__()
        self.partitions: dict[str, Model] = {}

    @rule(name=PARTITIONS, frames=FRAMES)
    def append(self, name: str, frames: list[bytes]) -> None:
        model = self.partitions.setdefault(name, Model())
        assert self.run(self.store.append(name, frames)) == len(model.frames)
        model.frames += frames

    @rule(name=PARTITIONS, frames=FRAMES, off=st.sampled_from([-1, 0, 0, 1, 5]))
    def append_where_expected(self, name: str, frames: list[bytes], off: int) -> None:
        following = len(self.partitions.get(name, Model()).frames)
        expected = max(0, following + off)
        if expected != following:
            with pytest.raises(Conflict) as conflict:
                self.run(self.store.append(name, frames, expected=expected))
            found = {"partition": name, "expected": str(expected), "next": str(following)}
            assert conflict.value.metadata == found
            return
        assert self.run(self.store.append(name, frames, expected=expected)) == following
        self.partitions.setdefault(name, Model()).frames += frames

    @rule(name=PARTITIONS, offset=st.integers(-2, 1 << 70) | st.integers(0, 30), data=st.data())
    def read(self, name: str, offset: int, data: st.DataObject) -> None:
        max_frames = data.draw(st.integers(1, 10), label="max_frames")
        max_bytes = data.draw(st.integers(0, 30000), label="max_bytes")
        found = self.run(self.store.read(name, offset, max_frames=max_frames, max_bytes=max_bytes))
        model = self.partitions.get(name, Model())
        start = max(offset, model.first)
        assert bool(found) == (start < len(model.frames))
        assert len(found) <= max_frames
        assert len(found) <= 1 or sum(len(frame.data) for frame in found) <= max_bytes
        assert [frame.offset for frame in found] == list(range(start, start + len(found)))
        assert [frame.data for frame in found] == model.frames[start : start + len(found)]

    @rule(name=PARTITIONS)
    def range(self, name: str) -> None:
        model = self.partitions.get(name, Model())
        assert self.run(self.store.range(name)) == LogRange(model.first, len(model.frames))

    @rule(name=PARTITIONS, before=st.integers(-2, 1 << 70) | st.integers(0, 30))
    def trim(self, name: str, before: int) -> None:
        self.run(self.store.trim(name, before))
        if model := self.partitions.get(name):
            model.first = max(model.first, min(before, len(model.frames)))

    @rule(name=PARTITIONS)
    def delete(self, name: str) -> None:
        self.run(self.store.delete_partition(name))
        self.partitions.pop(name, None)

    @rule(name=PARTITIONS)
    def offset_at(self, name: str) -> None:
        model = self.partitions.get(name, Model())
        times = self._times(name)
        assert times == sorted(times)
        for time_ns in {0, *times, *(time + 1 for time in times)}:
            later = sum(time >= time_ns for time in times)
            assert self.run(self.store.offset_at(name, time_ns)) == len(model.frames) - later

    def _times(self, name: str) -> list[int]:
        times: list[int] = []
        offset = 0
        while found := self.run(self.store.read(name, offset, max_frames=100, max_bytes=1 << 20)):
            times += [frame.time_ns for frame in found]
            offset = found[-1].offset + 1
        return times

    @rule()
    def reopen(self) -> None:
        self.store = self.run(self.engine.reopen())


def test_logs_are_what_was_appended(engine: Engine) -> None:
    check(LogMachine, engine, runs=25, steps=30)
