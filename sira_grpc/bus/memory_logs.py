"""Logs in memory, for topics whose records need not survive the kernel."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from sira_grpc.clock import Clock
from sira_grpc.errors import StoreUnavailable
from sira_grpc.store.api import Frame, LogRange
from sira_grpc.store.conflicts import next_conflict


class _Partition:
    """The frames of one log, by their offsets. Offsets go on after a trim."""

    __slots__ = ("first", "frames", "next", "size", "time_ns")

    def __init__(self) -> None:
        self.frames: dict[int, Frame] = {}
        self.first = 0
        self.next = 0
        self.size = 0
        self.time_ns = 0


class MemoryLogs:
    """Implements LogStore in memory.

    Args:
        clock: dates the frames.
        max_bytes: of all frames together.
    """

    def __init__(self, clock: Clock, max_bytes: int) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._size = 0
        self._partitions: dict[str, _Partition] = {}

    async def append(self, partition: str, frames: Sequence[bytes], *, expected: int | None = None) -> int:
        """See LogStore.

        Raises:
            Conflict: another offset than the expected is next. Nothing was appended.
            StoreUnavailable: the memory for it is used up. Nothing was appended.
        """
        there = self._partitions.get(partition)
        following = there.next if there else 0
        if expected not in {None, following}:
            raise next_conflict(partition, expected, following)
        size = sum(map(len, frames))
        if self._size + size > self._max_bytes:
            raise StoreUnavailable(
                f"topics in memory hold bus.memory_bytes, {self._max_bytes}, already",
                metadata={"outcome": "none"},
                retry_after=1.0,
            )
        found = self._partitions.setdefault(partition, _Partition())
        offset = found.next
        found.time_ns = max(self._clock.time_ns(), found.time_ns)
        for number, data in enumerate(frames, offset):
            found.frames[number] = Frame(number, found.time_ns, data)
        found.next += len(frames)
        found.size += size
        self._size += size
        return offset

    async def read(self, partition: str, offset: int, *, max_frames: int, max_bytes: int) -> Sequence[Frame]:
        """See LogStore."""
        found = self._partitions.get(partition)
        if found is None:
            return ()
        first = max(offset, found.first)
        read: list[Frame] = []
        total = 0
        for number in range(first, min(first + max_frames, found.next)):
            frame = found.frames[number]
            total += len(frame.data)
            if read and total > max_bytes:
                break
            read.append(frame)
        return read

    async def range(self, partition: str) -> LogRange:
        """See LogStore."""
        found = self._partitions.get(partition)
        return LogRange(found.first, found.next) if found is not None else LogRange(0, 0)

    async def offset_at(self, partition: str, time_ns: int) -> int:
        """See LogStore."""
        found = self._partitions.get(partition)
        if found is None:
            return 0
        offsets = range(found.first, found.next)
        return found.first + bisect_left(offsets, time_ns, key=lambda number: found.frames[number].time_ns)

    async def trim(self, partition: str, before: int) -> None:
        """See LogStore."""
        found = self._partitions.get(partition)
        if found is None:
            return
        for number in range(found.first, min(before, found.next)):
            size = len(found.frames.pop(number).data)
            found.size -= size
            self._size -= size
            found.first = number + 1

    async def delete_partition(self, partition: str) -> None:
        """See LogStore."""
        found = self._partitions.pop(partition, None)
        if found is not None:
            self._size -= found.size

    def forget(self, topic_uid: str) -> None:
        """Forgets all partitions of a topic, with what is settled in them."""
        for partition in [name for name in self._partitions if f"/{topic_uid}/" in name]:
            self._size -= self._partitions.pop(partition).size
