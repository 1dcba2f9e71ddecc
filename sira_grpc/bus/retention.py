"""Takes the oldest frames out of a partition when they are too old, or it holds too much."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sira_grpc.bus.partition import Oldest, Partition
from sira_grpc.bus.segment import Segment
from sira_grpc.bus.settings import TopicSettings
from sira_grpc.bus.stored import Held
from sira_grpc.errors import StoreUnavailable

READ_FRAMES = 64
SLACK = 16
SLACK_BYTES = 1 << 20
SLACK_RECORDS = 10_000
"""A partition may be over its limits by a 16th, and this, before it is trimmed at once rather than within a second."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Limits:
    """What a partition may hold.

    before_ns: what was published before is too old.
    """

    before_ns: int
    max_bytes: int | None
    max_records: int | None

    @classmethod
    def of(cls, settings: TopicSettings, now_ns: int) -> _Limits:
        before_ns = max(0, now_ns - settings.max_age_ns) if settings.max_age_ns is not None else 0
        if settings.refuse_when_full:
            return cls(before_ns, None, None)
        return cls(before_ns, settings.max_bytes, settings.max_records)

    def exceeded(self, publish_ns: int, left_bytes: int, left_records: int) -> bool:
        """Whether a frame may go, after which so much is left: whole frames go, so that no more than is due does."""
        return (
            publish_ns < self.before_ns
            or (self.max_bytes is not None and left_bytes >= self.max_bytes)
            or (self.max_records is not None and left_records >= self.max_records)
        )


def overdue(partition: Partition, now_ns: int) -> bool:
    """Whether the oldest frame of a partition is to go. Costs nothing."""
    oldest = partition.oldest
    if oldest is None:
        return False
    limits = _Limits.of(partition.settings, now_ns)
    return limits.exceeded(oldest.publish_ns, partition.size - oldest.size, partition.records - oldest.records)


def overfull(partition: Partition) -> bool:
    """Whether a partition holds so much too much that it should be trimmed at once. Costs nothing."""
    settings = partition.settings
    if settings.refuse_when_full:
        return False
    size, records = settings.max_bytes, settings.max_records
    return (size is not None and partition.size > size + size // SLACK + SLACK_BYTES) or (
        records is not None and partition.records > records + records // SLACK + SLACK_RECORDS
    )


async def retain(partition: Partition, now_ns: int, mark: Callable[[], Awaitable[None]] | None = None) -> None:
    """Takes out what is to go, in whole frames from the oldest on.

    Nobody can read it from here on. The last frame stays in the log, which goes on from it, but cannot be read either;
    so do frames that are needed to know of their producers and ids: those that no mark knows of.

    Args:
        partition: what it is taken out of.
        now_ns: the time, Unix nanoseconds.
        mark: in place of the partition's own.

    Raises:
        StoreUnavailable: the partition cannot be read now.
    """
    if not overdue(partition, now_ns) or partition.closed:
        return
    marks = partition.marks
    limits = _Limits.of(partition.settings, now_ns)
    if limits.exceeded(marks.newest_ns, marks.unmarked, partition.end - marks.offset):
        await (mark or partition.mark)()  # more than the last one knows of is to go
    async with partition.trimming:
        if overdue(partition, now_ns) and not partition.closed:
            await _Walk(partition, limits).run()


class _Cut:
    """How much of a segment goes: the frames below a number, their bytes and records."""

    __slots__ = ("number", "records", "segment", "size")

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.number = segment.first
        self.size = 0
        self.records = 0


class _Walk:
    """Goes through a partition from its oldest frame to the first one that stays."""

    def __init__(self, partition: Partition, limits: _Limits) -> None:
        self._partition = partition
        self._limits = limits
        self._left_bytes = partition.size
        self._left_records = partition.records
        self._first = partition.first
        self._oldest: Oldest | None = None

    async def run(self) -> None:
        """Takes out what is before that frame."""
        partition = self._partition
        compacted, live = partition.compacted, _Cut(partition.live)
        before = _Cut(compacted) if compacted is not None else None
        found = before is not None and await self._walk(before)
        if not found:
            self._skip(live)
            await self._walk(live)
        partition.first = self._first
        partition.oldest = self._oldest
        try:
            if before is not None and compacted is not None:
                compacted.records -= before.records
                await compacted.trim(before.number, before.size)
            if live.number > partition.live.first:
                await partition.live.trim(live.number, live.size)
                await partition.marks.shrink()
        except StoreUnavailable as error:
            log.warning("%s: what nobody can read any more is in the log still: %s", partition.log, error)

    def _skip(self, cut: _Cut) -> None:
        """Passes over what is known to go, without reading it."""
        partition, limits = self._partition, self._limits
        max_bytes, max_records = limits.max_bytes, limits.max_records
        place = cut.segment.skip(
            before_ns=limits.before_ns,
            size=-1 if max_bytes is None else self._left_bytes - max_bytes,
            offset=partition.first if max_records is None else max(partition.first, partition.end - max_records),
        )
        if place is not None and cut.number < place.number <= partition.marks.frame:
            cut.number, cut.size = place.number, place.size
            self._first = max(self._first, place.offset)
            self._left_bytes -= place.size
            self._left_records = partition.end - place.offset

    async def _walk(self, cut: _Cut) -> bool:
        """Passes over frames up to the first one that stays; False if none does."""
        number = cut.number
        while frames := await cut.segment.read(number, max_frames=READ_FRAMES):
            for held in frames:
                if held.broken:
                    continue  # it goes when what follows it does
                if not self._goes(held):
                    self._oldest = Oldest(held.publish_ns, held.size, held.count)
                    return True
                self._pass(cut, held)
            number = frames[-1].number + 1
        return False

    def _goes(self, held: Held) -> bool:
        left_bytes, left_records = self._left_bytes - held.size, self._left_records - held.count
        return held.end <= self._partition.first or self._limits.exceeded(held.publish_ns, left_bytes, left_records)

    def _pass(self, cut: _Cut, held: Held) -> None:
        if held.end > self._partition.first:
            self._left_records -= held.count
        self._first = max(self._first, held.end)
        if cut.segment is self._partition.live and held.number >= min(
            cut.segment.next - 1, self._partition.marks.frame
        ):
            return
        cut.number = held.number + 1
        cut.size += held.size
        cut.records += held.count
        self._left_bytes -= held.size
