"""Compaction: of the records with one key only the last is kept, in a log that takes the place of the older frames.

The frames of a partition's own log up to one, and what was compacted before, are written anew without what is
superseded; a record in the store's state then says that the new log counts. Whatever a crash leaves half done is not
named by that record, and is removed by the next compaction. As in the log cleaner of Kafka (KIP-58, KIP-280).

The two logs that this is written to in turn are trimmed, never deleted, so that no number of a frame comes again: a
member that has lost the partition without knowing can neither append to what its successor writes, nor take it away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator

from sira.bus.internal.v1.compaction_record_pb2 import CompactionRecord

from sira_grpc.bus import names
from sira_grpc.bus.compacted_log import CompactedLog
from sira_grpc.bus.last_records import LastRecords
from sira_grpc.bus.partition import Oldest, Partition
from sira_grpc.bus.segment import Segment
from sira_grpc.bus.stored import Held
from sira_grpc.bus.tenure import Records
from sira_grpc.errors import SiraError
from sira_grpc.store.api import ABSENT, Entry, Put

MIN_BYTES = 1 << 20
MIN_RECORDS = 1000
"""There must be so many bytes, or records, that can be compacted."""

log = logging.getLogger(__name__)


async def load_compaction(store: Records, topic_uid: str, partition: int) -> CompactionRecord | None:
    """Returns what is stored of a partition's compaction; None if it never was compacted.

    Raises:
        StoreCorrupt: it is damaged.
    """
    entry = await store.get(names.compaction_key(topic_uid, partition))
    return CompactionRecord.FromString(entry.value) if entry is not None else None


async def discard_orphan(partition: Partition) -> None:
    """Deletes what a compaction that was cut off has left. To be called when none is under way.

    Raises:
        StoreUnavailable: it is there still.
    """
    async with partition.compacting:
        if not partition.closed:
            await _empty(partition, _other_log(partition))


async def _empty(partition: Partition, log: str) -> int:
    """Forgets what a log holds, and returns the number that its next frame gets.

    What it holds is not a successor's: there was none when that was looked at.
    """
    held = await partition.logs.range(log)
    await partition.confirm()
    if held.first < held.next:
        await partition.logs.trim(log, held.next)
    return held.next


async def compactable(partition: Partition, now_ns: int) -> bool:
    """Whether compaction is worth it: what is old enough for it holds at least as much as what was compacted before.

    And it holds a MiB or 1,000 records, at least. Bytes are estimated by the number of records.

    Raises:
        StoreUnavailable: it cannot be read now.
    """
    live, settings = partition.live, partition.settings
    before = partition.compacted.size if partition.compacted is not None else 0
    first = max(partition.first, partition.live_start)
    held = partition.end - first
    if settings.compaction is None or live.size <= before:
        return False
    if held < MIN_RECORDS and live.size < MIN_BYTES:
        return False
    end = await _end(partition, now_ns - settings.compaction.min_age_ns, live.next)
    records = 0 if end is None else end.base - first
    size = live.size * records // max(held, 1)
    return size >= before and (records >= MIN_RECORDS or size >= MIN_BYTES)


async def compact(partition: Partition, store: Records, now_ns: int) -> None:
    """Compacts a partition that is on the disk.

    Records younger than the topic's min_age stay, and those of the last frame; so do all without a key. Offsets stay.

    Raises:
        StoreUnavailable, Conflict: nothing has changed, or the old log is there still.
    """
    async with partition.compacting:
        if partition.closed or partition.settings.compaction is None:
            return
        await _Compaction(partition, store, now_ns).run()


async def _end(partition: Partition, before_ns: int, stop: int) -> Held | None:
    """Returns the first frame that is not to be compacted, at most the one with a number; None if none is before it."""
    live = partition.live
    last = min(live.next - 1, stop)
    number = min(await live.find_time(before_ns), last)
    while frames := await live.read(number, max_frames=2):
        for held in frames:
            if held.number >= last or (held.publish_ns >= before_ns and not held.broken):
                return held if held.number > live.first else None
        number = frames[-1].number + 1
    return None


def _other_log(partition: Partition) -> str:
    """Returns the log that the next compaction writes."""
    one, other = names.compacted_of(partition.topic_uid, partition.number)
    return other if partition.compacted is not None and partition.compacted.name == one else one


class _Compaction:
    """One run."""

    def __init__(self, partition: Partition, store: Records, now_ns: int) -> None:
        settings = partition.settings.compaction
        assert settings is not None, "the topic is compacted"
        self._partition = partition
        self._store = store
        self._now_ns = now_ns
        self._min_age_ns = settings.min_age_ns
        self._tombstones_before_ns = now_ns - settings.tombstone_age_ns
        self._last = LastRecords()
        # Number and size of each frame that is compacted out of the partition's own log.
        self._sizes: list[tuple[int, int]] = []

    async def run(self) -> None:
        """Does it, unless there is nothing to do."""
        partition = self._partition
        if partition.marks.frame < partition.live.next:
            await partition.mark()
        # What no mark knows of is needed to know of its producers and ids.
        end = await _end(partition, self._now_ns - self._min_age_ns, partition.marks.frame)
        if end is None:
            return
        before = await self._store.get(names.compaction_key(partition.topic_uid, partition.number))
        name = _other_log(partition)
        first = await _empty(partition, name)
        async for held in self._frames(None):
            self._last.note(held)
        written = CompactedLog(partition.logs, name, first)
        async for held in self._frames(end.number):
            await self._rewrite(held, written)
        await written.flush()
        if partition.closed:
            await partition.logs.trim(name, written.segment.next)
            return
        old = partition.compacted
        await self._switch(written, end, before)
        if old is not None:
            await partition.logs.trim(old.name, old.next)

    async def _frames(self, end: int | None) -> AsyncGenerator[Held, None]:
        """Yields the frames of a partition up to one of its own log, by number; None for all."""
        partition = self._partition
        segments: list[tuple[Segment, int]] = [(partition.live, partition.live.next if end is None else end)]
        if partition.compacted is not None:
            segments.insert(0, (partition.compacted, partition.compacted.next))
        for segment, stop in segments:
            number = segment.first
            while not partition.closed and number < stop and (frames := await segment.read(number)):
                for held in frames:
                    if held.number < stop:
                        yield held
                        await asyncio.sleep(0)  # others have a turn after each
                number = frames[-1].number + 1

    async def _rewrite(self, held: Held, written: CompactedLog) -> None:
        partition = self._partition
        if held.base >= partition.live_start:
            self._sizes.append((held.number, held.size))
        if held.broken:
            log.error("%s: offsets %d to %d are damaged and left out", partition.log, held.base, held.end - 1)
        elif held.end > partition.first:
            before_ns = self._tombstones_before_ns
            await written.add(held, self._last.kept(held, now_ns=self._now_ns, tombstones_before_ns=before_ns))

    async def _switch(self, written: CompactedLog, end: Held, before: Entry | None) -> None:
        """Has the new log count, for everybody."""
        partition = self._partition
        record = CompactionRecord(log=written.segment.name, end=end.base, frame=end.number, time_ns=self._now_ns)
        key = names.compaction_key(partition.topic_uid, partition.number)
        async with partition.trimming:
            expected = before.revision if before is not None else ABSENT
            await self._store.commit([Put(key, record.SerializeToString(), expected)])
            oldest = written.first or end
            partition.compacted, partition.live_start = written.segment, end.base
            partition.oldest = Oldest(oldest.publish_ns, oldest.size, oldest.count)
            gone = sum(size for number, size in self._sizes if number >= partition.live.first)
            try:
                await partition.live.trim(end.number, gone)
                await partition.marks.shrink()
            except SiraError as error:
                log.warning("%s: what was compacted is in the log still: %s", partition.log, error)
