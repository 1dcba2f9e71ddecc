"""What a partition notes of its frames now and then, so that it can be opened without reading all of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing

from google.protobuf.message import DecodeError
from sira.bus.internal.v1.partition_mark_pb2 import PartitionMark

from sira_grpc.bus.log_reading import read_frames
from sira_grpc.bus.producers import Producers
from sira_grpc.bus.record_ids import RecordIds
from sira_grpc.bus.segment import Segment
from sira_grpc.errors import StoreUnavailable
from sira_grpc.store.api import Frame, LogStore

IDS_A_MARK = 100_000
"""Ids in one mark, 3 MB: so that it stays within the size of a log's frame."""

log = logging.getLogger(__name__)


class Marks:
    """The log of a partition's marks.

    Attributes:
        on_saved: called when a mark was saved; must not block.
        newest_ns: when the last frame that the last mark knows of was published, Unix nanoseconds; 0 if not known.
    """

    def __init__(self, logs: LogStore, name: str, producers: Producers, ids: RecordIds, live: Segment) -> None:
        self.on_saved: Callable[[], None] = lambda: None
        self.newest_ns = 0
        self._logs = logs
        self._name = name
        self._producers = producers
        self._ids = ids
        self._live = live
        self._turn = asyncio.Lock()
        # Number of each mark, and when the newest of its ids came.
        self._kept: list[tuple[int, int]] = []
        # The number that the next mark gets.
        self._next = 0
        # The last mark that was saved, without ids and producers; and its number.
        self._last = PartitionMark()
        self._last_number = 0
        # What the segment had in total when it was saved.
        self._last_total = 0

    async def load(self) -> PartitionMark:
        """Fills the producers and the ids, and returns the last mark; an empty one if there is none.

        If one is damaged, none counts: all frames are to be read.

        Raises:
            StoreUnavailable: it cannot be read, or the member that had the partition before is writing others.
        """
        held = await self._logs.range(self._name)
        self._next = held.next
        good, damaged = held.first, False
        last = PartitionMark()
        async with aclosing(read_frames(self._logs, self._name, held.first, held.next)) as frames:
            async for number, frame in frames:
                mark = _opened(frame)
                if mark is None:
                    damaged = True
                    break
                good = number + 1
                self._ids.load(mark.ids, mark.id_offsets, mark.id_times_ns)
                self._kept.append((number, max(mark.id_times_ns, default=0)))
                if not mark.producers:
                    mark.producers.extend(last.producers)  # it tells of the size only, or there are none
                else:
                    self._last_number = number
                last = mark
        if good < held.next and not damaged:
            raise StoreUnavailable(f"{self._name} is being changed by another member", retry_after=0.1)
        if damaged:
            log.error("%s: a mark is damaged; all frames are read", self._name)
            return PartitionMark()
        self._producers.load(last.producers)
        self._last = PartitionMark(frame=last.frame, offset=last.offset, bytes=last.bytes)
        return last

    @property
    def frame(self) -> int:
        """Number of the first frame that no mark knows of."""
        return self._last.frame

    @property
    def offset(self) -> int:
        """Offset of that frame's first record."""
        return self._last.offset

    @property
    def unmarked(self) -> int:
        """Bytes of the frames that no mark knows of."""
        return self._live.total - self._last_total

    async def save(self, offset: int, newest_ns: int, now_ns: int) -> None:
        """Writes a mark, and forgets those that are of no use any more.

        Args:
            offset: of the next record.
            newest_ns: when the last frame was published, Unix nanoseconds.
            now_ns: the time, likewise.

        Raises:
            StoreUnavailable: it was not written. What it was to hold is kept for the next one.
        """
        async with self._turn:
            last = PartitionMark(frame=self._live.next, offset=offset, bytes=self._live.size)
            fresh = self._ids.take_fresh()
            marks = [_with_ids(last, fresh[at : at + IDS_A_MARK]) for at in range(0, max(len(fresh), 1), IDS_A_MARK)]
            marks[-1].producers.extend(self._producers.marks())
            try:
                number = await self._append(marks)
            except BaseException:
                self._ids.give_back(fresh)
                raise
            self._kept.extend((number + index, max(mark.id_times_ns, default=0)) for index, mark in enumerate(marks))
            self._last, self._last_number = last, number + len(marks) - 1
            self._last_total = self._live.total
            self.newest_ns = newest_ns
            self.on_saved()
            await self._trim(now_ns)

    async def shrink(self) -> None:
        """Notes that frames at the head of the log are gone.

        Raises:
            StoreUnavailable: it was not noted; the partition may take itself for larger than it is when it is opened.
        """
        async with self._turn:
            size = max(0, self._live.size - self.unmarked)
            if size == self._last.bytes:
                return
            smaller = PartitionMark(frame=self._last.frame, offset=self._last.offset, bytes=size)
            number = await self._append([smaller])
            self._kept.append((number, 0))
            self._last = smaller

    async def _append(self, marks: Sequence[PartitionMark]) -> int:
        data = [mark.SerializeToString() for mark in marks]
        number = await self._logs.append(self._name, data, expected=self._next)
        self._next = number + len(marks)
        return number

    async def _trim(self, now_ns: int) -> None:
        gone = 0
        while self._kept[gone][0] < self._last_number and self._kept[gone][1] < now_ns - self._ids.window_ns:
            gone += 1
        if gone:
            await self._logs.trim(self._name, self._kept[gone][0])
            del self._kept[:gone]


def _opened(frame: Frame | None) -> PartitionMark | None:
    """Returns a mark; None if it is damaged."""
    if frame is None:
        return None
    try:
        return PartitionMark.FromString(frame.data)
    except DecodeError:
        return None


def _with_ids(last: PartitionMark, ids: Sequence[tuple[bytes, int, int]]) -> PartitionMark:
    mark = PartitionMark(frame=last.frame, offset=last.offset, bytes=last.bytes)
    mark.ids = b"".join(key for key, _, _ in ids)
    mark.id_offsets.extend(place for _, place, _ in ids)
    mark.id_times_ns.extend(time_ns for _, _, time_ns in ids)
    return mark
