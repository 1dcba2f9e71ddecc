"""Logs in memory, for topics whose records need not survive the kernel."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from itertools import islice

from sira_grpc.clock import Clock
from sira_grpc.errors import StoreUnavailable
from sira_grpc.store.api import Frame, LogRange


class _Partition:
    """The frames of one log. Offsets go on after a trim."""

    __slots__ = ("frames", "next", "size")

    def __init__(self) -> None:
        self.frames: deque[Frame] = deque()
        self.next = 0
        self.size = 0


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

    async def append(self, partition: str, frames: Sequence[bytes]) -> int:
        """See LogStore.

        Raises:
            StoreUnavailable: the memory for it is used up. Nothing was appended.
        """
        size = sum(map(len, frames))
        if self._size + size > self._max_bytes:
            raise StoreUnavailable(
                f"topics in memory hold bus.memory_bytes, {self._max_bytes}, already", retry_after=1.0
            )
        found = self._partitions.setdefault(partition, _Partition())
        offset = found.next
        time_ns = max(self._clock.time_ns(), found.frames[-1].time_ns if found.frames else 0)
        found.frames.extend(Frame(offset + index, time_ns, data) for index, data in enumerate(frames))
        found.next += len(frames)
        found.size += size
        self._size += size
        return offset

    async def read(self, partition: str, offset: int, *, max_frames: int, max_bytes: int) -> Sequence[Frame]:
        """See LogStore."""
        found = self._partitions.get(partition)
        if found is None or not found.frames:
            return ()
        skip = max(0, offset - found.frames[0].offset)
        read: list[Frame] = []
        total = 0
        for frame in islice(found.frames, skip, skip + max_frames):
            total += len(frame.data)
            if read and total > max_bytes:
                break
            read.append(frame)
        return read

    async def range(self, partition: str) -> LogRange:
        """See LogStore."""
        found = self._partitions.get(partition)
        if found is None:
            return LogRange(0, 0)
        return LogRange(found.next - len(found.frames), found.next)

    async def offset_at(self, partition: str, time_ns: int) -> int:
        """See LogStore."""
        found = self._partitions.get(partition)
        if found is None:
            return 0
        index = bisect_left(found.frames, time_ns, key=lambda frame: frame.time_ns)
        return found.frames[index].offset if index < len(found.frames) else found.next

    async def trim(self, partition: str, before: int) -> None:
        """See LogStore."""
        found = self._partitions.get(partition)
        while found is not None and found.frames and found.frames[0].offset < before:
            size = len(found.frames.popleft().data)
            found.size -= size
            self._size -= size

    async def delete_partition(self, partition: str) -> None:
        """See LogStore."""
        found = self._partitions.pop(partition, None)
        if found is not None:
            self._size -= found.size
