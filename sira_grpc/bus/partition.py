"""A partition of a topic: the frames that it holds, from its first offset to its end, and who wants to hear of more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from sira.bus.internal.v1.compaction_record_pb2 import CompactionRecord

from sira_grpc.bus import names
from sira_grpc.bus.marks import Marks
from sira_grpc.bus.producers import Producers
from sira_grpc.bus.recent import RecentBudget, RecentFrames
from sira_grpc.bus.record_ids import RecordIds
from sira_grpc.bus.segment import Segment
from sira_grpc.bus.settings import TopicSettings
from sira_grpc.bus.stored import CorruptFrame, Held, link, open_stored
from sira_grpc.errors import StoreCorrupt, StoreUnavailable
from sira_grpc.store.api import LogStore

SKIPPED_WHEN_LOST = 10_000
"""Offsets that are passed over when the last frame cannot be read: as many as it may have had records."""

log = logging.getLogger(__name__)


class Oldest(NamedTuple):
    """The first frame that a partition holds: when it was published in Unix nanoseconds, its bytes and its records."""

    publish_ns: int
    size: int
    records: int


class Partition:
    """What a partition holds.

    Attributes:
        topic: name of its topic, without the namespace.
        number: of the partition.
        log: name of its log, which tells it from all others.
        first, end: the offsets that it holds: first (inclusive) to end (exclusive).
        oldest: its first frame; None if it has none.
        newest_ns: when its last frame was published, Unix nanoseconds.
        head: hash of its last frame, which the next one holds; empty if there is none.
        settings: of its topic, as they are now.
        listeners: called when there is more to read; must not block.
        compacted: what was compacted, if anything; live: what follows it, from the offset live_start on.
        trimming: held while frames are taken away.
        compacting: held by whoever makes another `compacted`.
        appended_to: since it was opened: nobody else can have done so.
        closed: nothing must be written to its logs any more.
        confirm: raises NotOwner unless its namespace is still this member's, as the store says.
        mark: has it noted what is known of producers and ids, or logs why not.
    """

    def __init__(
        self,
        logs: LogStore,
        topic: str,
        topic_uid: str,
        number: int,
        settings: TopicSettings,
        budget: RecentBudget,
    ) -> None:
        self.logs = logs
        self.topic = topic
        self.topic_uid = topic_uid
        self.number = number
        self.log = names.log_of(topic_uid, number)
        self.settings = settings
        self.first = 0
        self.end = 0
        self.oldest: Oldest | None = None
        self.newest_ns = 0
        self.head = b""
        self.listeners: list[Callable[[], None]] = []
        self.compacted: Segment | None = None
        self.live = Segment(logs, self.log)
        self.producers = Producers()
        self.ids = RecordIds(settings.deduplication_ns)
        self.marks = Marks(logs, names.marks_of(topic_uid, number), self.producers, self.ids, self.live)
        self.live_start = 0
        self.trimming = asyncio.Lock()
        self.compacting = asyncio.Lock()
        self.appended_to = False
        self.closed = False
        self.confirm: Callable[[], Awaitable[None]] = _alone
        self.mark: Callable[[], Awaitable[None]] = self._mark
        self._recent = RecentFrames(budget)

    async def open(self, compaction: CompactionRecord | None) -> None:
        """Learns what there is, from the last mark on.

        Raises:
            StoreUnavailable: it cannot be read, or is being changed by the member that had it before.
        """
        mark = await self.marks.load()
        await self.live.open()
        if mark.frame and not self.live.first <= mark.frame <= self.live.next:
            raise self._changing()  # a later mark, which knows of what was trimmed since, came after those were read
        self.end = max(self.end, mark.offset)
        number = max(mark.frame, self.live.first)
        if compaction is not None:
            self.compacted = Segment(self.logs, compaction.log)
            await self.compacted.open()
            await self.compacted.measure()
            number = self.live.first = max(self.live.first, compaction.frame)
            self.live_start = compaction.end
            self.end = max(self.end, self.live_start)
        elif number > self.live.first:
            self.live.size = mark.bytes
        while number < self.live.next:
            frames = await self.live.read(number)
            if frames and frames[0].number > number >= mark.frame:
                raise self._changing()
            for held in frames:
                self._recover(held, marked=held.number < mark.frame)
            number = frames[-1].number + 1 if frames else self.live.next
        await self._read_head()
        await self._read_first()

    def _changing(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self.log} is being changed by another member", retry_after=0.1)

    def _recover(self, held: Held, *, marked: bool) -> None:
        """Takes note of a frame whose place is not known, and of its producer and ids if no mark knows of them."""
        self.end = max(self.end, held.end)
        self.newest_ns = max(self.newest_ns, held.publish_ns)
        self.live.note(held)
        self.live.size += held.size
        if held.broken or marked:
            return
        if held.producer_id:
            self.producers.note(held.producer_id, held.sequence, held.sent, held.base, held.publish_ns)
        if held.reader.frame.ids and not held.redrives:
            offsets = [held.offset_of(index) for index in range(held.count)]
            self.ids.note(held.reader.frame.ids, offsets, held.publish_ns)

    async def _read_head(self) -> None:
        """Reads the last frame, which the next one is chained to."""
        if self.live.next == self.live.first:
            return
        try:
            (frame,) = await self.logs.read(self.log, self.live.next - 1, max_frames=1, max_bytes=1)
            held, _ = open_stored(frame.offset, frame.data)
        except (StoreCorrupt, CorruptFrame):
            self.end += SKIPPED_WHEN_LOST
            return
        self.head = link(frame.data)
        self.end = max(self.end, held.end)
        self.newest_ns = max(self.newest_ns, held.publish_ns)

    async def _read_first(self) -> None:
        segment = self.live if self.compacted is None or self.compacted.first == self.compacted.next else self.compacted
        frames = await segment.read(segment.first, max_frames=1, max_bytes=1)
        self.first = min(frames[0].base, self.end) if frames else self.end
        if frames:
            self.oldest = Oldest(frames[0].publish_ns, frames[0].size, frames[0].count)

    async def _mark(self) -> None:
        """For as long as nothing is appended."""
        try:
            await self.marks.save(self.end, self.newest_ns, self.newest_ns)
        except StoreUnavailable as error:
            log.warning("%s: no mark could be written: %s", self.log, error)

    def appended(self, frames: list[Held], head: bytes) -> None:
        """Notes frames that have been stored behind the others, and tells who listens."""
        self.appended_to = True
        for held in frames:
            self.live.appended(held)
            self._recent.add(held)
        if self.oldest is None:
            self.oldest = Oldest(frames[0].publish_ns, frames[0].size, frames[0].count)
        self.end = frames[-1].end
        self.newest_ns = frames[-1].publish_ns
        self.head = head
        for listener in tuple(self.listeners):
            listener()

    @property
    def size(self) -> int:
        """Bytes of the frames that are in its logs."""
        return self.live.size + (self.compacted.size if self.compacted is not None else 0)

    @property
    def records(self) -> int:
        """Number of the records that it holds."""
        if self.compacted is None or not self.compacted.records:
            return self.end - self.first
        return self.end - self.live_start + self.compacted.records

    async def read(self, offset: int) -> list[Held]:
        """Reads frames in their order, beginning with the first that ends after an offset; none at the end.

        What is broken is there as such.
        """
        offset = max(offset, self.first)
        if offset >= self.end:
            return []
        held = self._recent.find(offset)
        if held is not None:
            return [held]
        compacted = self.compacted
        frames: list[Held] = []
        if compacted is not None and offset < self.live_start:
            frames = await _read_from(compacted, offset)
        if not frames:
            frames = await _read_from(self.live, offset)
        if compacted is not self.compacted or offset < self.first:
            return await self.read(offset)  # compaction or retention came in between: it may have passed over some
        return frames or [Held.lost(self.live.next, offset, self.end)]

    async def offset_at(self, publish_ns: int) -> int:
        """Returns the offset of the first frame that was published at a time or later; the end if there is none."""
        for segment in (self.compacted, self.live):
            if segment is None:
                continue
            for held in await segment.read(await segment.find_time(publish_ns), max_frames=2):
                if held.publish_ns >= publish_ns and not held.broken:
                    return max(held.base, self.first)
        return self.end

    def close(self) -> None:
        """Lets go of what it keeps in memory."""
        self.closed = True
        self._recent.clear()
        self.listeners.clear()

    async def idle(self) -> None:
        """Returns once nobody trims or compacts it. To be called when it is closed."""
        async with self.compacting, self.trimming:
            return


async def _alone() -> None:
    """Nobody else can have it."""


async def _read_from(segment: Segment, offset: int) -> list[Held]:
    number = await segment.find(offset)
    while frames := await segment.read(number):
        wanted = [held for held in frames if held.end > offset]
        if wanted:
            return wanted
        number = frames[-1].number + 1
    return []
