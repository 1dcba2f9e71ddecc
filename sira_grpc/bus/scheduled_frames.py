"""The log of a partition's frames whose time has not come, and where in it a scheduled record is."""

from __future__ import annotations

import logging
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import AsyncGenerator
from typing import NamedTuple

from google.protobuf.message import DecodeError
from sira.bus.internal.v1.scheduled_frame_pb2 import ScheduledFrame
from sira_client.frames import FrameReader, checksum, cut

from sira_grpc.bus.due_queue import Due
from sira_grpc.bus.incoming import Incoming
from sira_grpc.bus.log_reading import read_log
from sira_grpc.bus.span_blocks import SpanBlocks
from sira_grpc.bus.stored import check_size
from sira_grpc.errors import StoreCorrupt
from sira_grpc.store.api import LogStore

READ_FRAMES = 256
READ_BYTES = 256 << 10
"""What is read at once: frames that follow one another are often due one after the other."""
KEPT_BYTES = 16 << 20
"""Records that are due soon and are kept in memory."""
_FRAME_BYTES = 2048
_RECORD_BYTES = 128
"""What a frame in memory, and a record of it, cost besides their bytes, about."""

log = logging.getLogger(__name__)


class Found(NamedTuple):
    """A scheduled record.

    Attributes:
        reader: of its frame, or of some of that frame's records.
        place: which of these it is.
        memory: what they cost together in memory, in bytes, about.
    """

    reader: FrameReader
    place: int
    memory: int


class _Kept(NamedTuple):
    """Records of a frame that are due soon: where each is, by its place in the whole frame."""

    reader: FrameReader
    places: dict[int, int]
    memory: int


class ScheduledFrames:
    """The frames of one log. Their records are numbered through.

    A record takes no memory here; a frame takes 24 bytes.

    Attributes:
        name: of the log.
        next: the number that the next record gets.
        place: the number that the next frame gets in the log.
        appended: it was appended to since it was opened: nobody else can have done so.
    """

    def __init__(self, logs: LogStore, name: str) -> None:
        self.next = 0
        self.place = 0
        self.appended = False
        self._logs = logs
        self.name = name
        # Of each frame, in order: numbers of its records, from base to before end; and its number in the log.
        self._bases = array("q")
        self._ends = array("q")
        self._frames = array("q")
        # By the numbers of the frames in the log; the one that was asked for last is at the end.
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._kept_bytes = 0
        self._seen_records = 0
        self._seen_bytes = 0

    async def replay(self) -> AsyncGenerator[ScheduledFrame, None]:
        """Yields all frames in their order; a damaged one is logged and left out. To be called first, and once."""
        held = await self._logs.range(self.name)
        self.place = held.next
        async for frame in read_log(self._logs, self.name, held):
            scheduled = _opened(frame.data)
            if scheduled is None:
                log.error("%s: frame %d is damaged and left out", self.name, frame.offset)
                continue
            self._note(frame.offset, scheduled)
            yield scheduled

    async def append(self, incoming: Incoming, publish_ns: int) -> ScheduledFrame:
        """Stores a frame durably, and returns it as it is stored.

        Raises:
            InvalidField: it is too large.
            StoreUnavailable: it was not stored.
        """
        frame = incoming.frame
        scheduled = ScheduledFrame(
            base=self.next,
            count=frame.count,
            publish_ns=publish_ns,
            checksum=incoming.checksum,
            producer_id=incoming.producer_id,
            sequence=incoming.sequence,
            due_ns=[max(due_ns, publish_ns) for due_ns in frame.deliver_at_ns],
            sent=incoming.sent if incoming.sent != frame.count else 0,
            frame=incoming.data,
        )
        data = scheduled.SerializeToString()
        check_size(data)
        number = await self._logs.append(self.name, [data], expected=self.place)
        self.place, self.appended = number + 1, True
        self._note(number, scheduled)
        return scheduled

    def _note(self, frame: int, scheduled: ScheduledFrame) -> None:
        self.next = scheduled.base + scheduled.count
        self._bases.append(scheduled.base)
        self._ends.append(self.next)
        self._frames.append(frame)
        self._seen_records += scheduled.count
        self._seen_bytes += len(scheduled.frame)

    @property
    def room(self) -> int:
        """How many records may be kept in memory, about, by the average size of those that came."""
        return KEPT_BYTES // (_RECORD_BYTES + self._seen_bytes // max(self._seen_records, 1))

    async def find(self, due: Due, until_ns: int) -> Found | None:
        """Returns a record; None if its frame is damaged. Asking for it again costs more.

        Args:
            due: the record's number, and when it is due.
            until_ns: what is due until then is kept in memory when a frame is read for one of its records.
        """
        at = bisect_right(self._bases, due.number) - 1
        if at < 0 or due.number >= self._ends[at]:
            return None
        frame, index = self._frames[at], due.number - self._bases[at]
        kept = self._kept.get(frame)
        if kept is None or index not in kept.places:
            await self._read(frame, due, until_ns)
            kept = self._kept.get(frame)
        if kept is None or index not in kept.places:
            log.error("%s: frame %d is damaged; what it held is lost", self.name, frame)
            return None
        found = Found(kept.reader, kept.places.pop(index), kept.memory)
        if kept.places:
            self._kept.move_to_end(frame)
        else:
            self._drop(frame)
        return found

    async def _read(self, number: int, due: Due, until_ns: int) -> None:
        """Reads a frame, and some that follow it."""
        try:
            frames = await self._logs.read(self.name, number, max_frames=READ_FRAMES, max_bytes=READ_BYTES)
        except StoreCorrupt:
            try:
                frames = await self._logs.read(self.name, number, max_frames=1, max_bytes=1)
            except StoreCorrupt:
                return
        # The one that is asked for goes last, so that it is the last to be dropped.
        for frame in reversed(frames):
            scheduled = _opened(frame.data) if frame.offset == number or frame.offset not in self._kept else None
            if scheduled is not None:
                self._keep(frame.offset, scheduled, due.due_ns, until_ns)

    def _keep(self, number: int, scheduled: ScheduledFrame, from_ns: int, until_ns: int) -> None:
        """Keeps those records of a frame that are due between two times."""
        wanted = [index for index, due_ns in enumerate(scheduled.due_ns) if from_ns <= due_ns <= until_ns]
        if not wanted:
            return
        data = scheduled.frame
        reader = FrameReader(data)
        if len(wanted) < scheduled.count:
            reader = FrameReader(data := cut(reader, wanted))
        if number in self._kept:
            self._drop(number)
        kept = _Kept(reader, dict(zip(wanted, range(len(wanted)), strict=True)), _memory_of(reader, len(data)))
        self._kept[number] = kept
        self._kept_bytes += kept.memory
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            self._drop(next(iter(self._kept)))

    def _drop(self, number: int) -> None:
        self._kept_bytes -= self._kept.pop(number).memory

    def drop_kept(self) -> None:
        """Lets go of the records in memory."""
        self._kept.clear()
        self._kept_bytes = 0

    async def trim(self, released: SpanBlocks, before: int) -> None:
        """Forgets the frames at the head all of whose records were released, those with numbers below one.

        Space is given back from the head only: a frame that waits for long holds up those behind it.

        Raises:
            StoreUnavailable: they are there still; it does no harm.
        """
        gone = 0
        while gone < len(self._bases) and self._ends[gone] <= before:
            base, end = self._bases[gone], self._ends[gone]
            if released.count(base, end) < end - base:
                break
            gone += 1
        if gone:
            await self._logs.trim(self.name, self._frames[gone - 1] + 1)
            del self._bases[:gone], self._ends[:gone], self._frames[:gone]


def _memory_of(reader: FrameReader, size: int) -> int:
    plain = reader.frame.payloads_bytes if reader.frame.compression else 0
    return _FRAME_BYTES + _RECORD_BYTES * reader.count + size + plain


def _opened(data: bytes) -> ScheduledFrame | None:
    """Returns a frame; None if it is not what was written."""
    try:
        scheduled = ScheduledFrame.FromString(data)
    except DecodeError:
        return None
    return scheduled if checksum(scheduled.frame) == scheduled.checksum else None
