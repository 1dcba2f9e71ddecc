"""Records of a partition whose time has not come: kept until then, then put into the partition, each once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from sira.bus.v1.frame_pb2 import Compression
from sira_client.frames import FrameReader

from sira_grpc.bus import names
from sira_grpc.bus.due_batch import MAX_RECORDS, RELEASER, DueBatch, ranges
from sira_grpc.bus.due_queue import Due, DueQueue
from sira_grpc.bus.incoming import Incoming, Published
from sira_grpc.bus.partition import Partition
from sira_grpc.bus.producers import SCHEDULED
from sira_grpc.bus.scheduled_frames import Found, ScheduledFrames
from sira_grpc.bus.span_log import SpanLog
from sira_grpc.bus.spans import Spans
from sira_grpc.clock import Clock
from sira_grpc.errors import FieldViolation, InvalidField, SiraError
from sira_grpc.times import NANOS

INLINE_BYTES = 256 << 10
"""Payloads larger than this are decompressed in a thread."""
RETRY_SECONDS = 1.0
LOOK_SECONDS = 1.0
"""The wall clock is looked at this often, as it may be set."""

log = logging.getLogger(__name__)


class Scheduled:
    """The scheduled records of a partition. Implements Scheduling.

    Each is released once, whatever happens: what is put into the partition says which scheduled records it holds, and
    there is one release at a time, so that after a crash the last of them tells what was not noted yet.

    Args:
        partition: where the records go.
        clock: says what is due.

    Attributes:
        frames: those that hold them.
    """

    def __init__(self, partition: Partition, clock: Clock) -> None:
        uid, number = partition.topic_uid, partition.number
        self._partition = partition
        self._clock = clock
        self._name = names.scheduled_of(uid, number)
        self.frames = ScheduledFrames(partition.logs, self._name)
        self._released = SpanLog(partition.logs, names.released_of(uid, number))
        self._queue = DueQueue()
        # What the partition has, and the log of what was released may not have.
        self._unnoted: list[tuple[int, int]] = []
        # Frames with numbers from here on are needed to know of their producers and ids: no mark has them.
        self._unmarked = 0
        self._taken = 0
        # Up to here records are taken out of a frame that is read for one of them: there is memory for so many.
        self._ahead_ns = 0
        # One that was read, and waits for the next batch.
        self._over: tuple[Due, Found] | None = None
        self._publish: Callable[[Incoming], Awaitable[Published]]
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def count(self) -> int:
        """Records that wait."""
        return len(self._queue) + self._taken

    async def open(self, publish: Callable[[Incoming], Awaitable[Published]]) -> None:
        """Learns what there is, and releases from here on what is due.

        Args:
            publish: puts a frame into the partition; must not be called before.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        self._publish = publish
        await self._released.load()
        self._unnoted = await self._last_release()
        unnoted = Spans(0, self._unnoted)
        now = self._clock.time_ns()
        async for frame in self.frames.replay():
            self._recall(frame.producer_id, frame.sequence, frame.sent or frame.count, frame.publish_ns)
            if self._partition.ids.window_ns and frame.publish_ns >= now - self._partition.ids.window_ns:
                self._partition.ids.recall(FrameReader(frame.frame).frame.ids, SCHEDULED, frame.publish_ns, now)
            for low, high in self._released.spans.missing(frame.base, frame.base + frame.count):
                for first, end in unnoted.missing(low, high):
                    self._queue.add(first, frame.due_ns[first - frame.base : end - frame.base])
        self.frames.next = max(self.frames.next, self._released.spans.end, unnoted.end)
        self._partition.marks.on_saved = self._marked
        self._arm()

    def _recall(self, producer_id: str, sequence: int, count: int, publish_ns: int) -> None:
        if producer_id:
            self._partition.producers.recall(producer_id, sequence, count, publish_ns)

    async def _last_release(self) -> list[tuple[int, int]]:
        """Returns which records the last release in the partition held."""
        offset = self._partition.producers.last_offset(RELEASER)
        found = await self._partition.read(offset) if offset is not None else []
        if not found or found[0].producer_id != RELEASER:
            return []
        return [(span.first, span.end) for span in found[0].released]

    async def take(self, incoming: Incoming, publish_ns: int) -> None:
        """Stores a frame durably; those of its records that are due at once follow soon.

        Raises:
            InvalidField: it is too large, or could not be taken apart when the time of some of its records has come.
            StoreUnavailable: it was not stored.
        """
        await _check_payloads(incoming)
        frame = await self.frames.append(incoming, publish_ns)
        first = self._queue.first_ns
        self._queue.add(frame.base, frame.due_ns)
        if self._task is None:
            self._arm()
        elif first is None or min(frame.due_ns) < first:
            self._wake.set()

    def _marked(self) -> None:
        """Notes that what is known of producers and ids was stored."""
        self._unmarked = self.frames.next

    def _arm(self) -> None:
        if self._closed or not (self._queue or self._unnoted):
            return
        self._task = asyncio.create_task(self._run(), name=f"bus {self._name}")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            log.critical("%s ended", task.get_name(), exc_info=error)
            return
        self._arm()  # something may have come while it ended

    async def _run(self) -> None:
        """Releases what is due until nothing is left."""
        while self._queue or self._unnoted:
            self._wake.clear()
            try:
                await self.release()
            except SiraError:
                log.warning("%s: what is due could not be released; it is tried again", self._name, exc_info=True)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            first = self._queue.first_ns
            if first is not None:
                delay = min(max((first - self._clock.time_ns()) / NANOS, 0.0), LOOK_SECONDS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._wake.wait()
        self.frames.drop_kept()

    async def release(self) -> None:
        """Puts what is due now into the partition.

        Raises:
            StoreUnavailable: some of it could not be; it waits still.
        """
        async with self._turn:
            await self._note_release()
            while (first := self._queue.first_ns) is not None and first <= self._clock.time_ns():
                await self._release_some()
                await self._note_release()

    async def _release_some(self) -> None:
        now = self._clock.time_ns()
        taken: list[Due] = []
        try:
            batch = DueBatch(now)
            while len(taken) < MAX_RECORDS and (first := self._queue.first_ns) is not None and first <= now:
                due = self._queue.pop()
                self._taken += 1
                taken.append(due)
                found = await self._find(due)
                if found is not None and not batch.add(due, found):
                    self._over = due, found
                    self._queue.add(due.number, [due.due_ns])
                    self._taken -= 1
                    taken.pop()
                    break
            released = ranges(due.number for due in taken)
            if batch.parts:
                await self._publish(batch.incoming(released, self._partition.producers.next_sequence(RELEASER)))
            self._unnoted = released
        except BaseException:
            for due in taken:
                self._queue.add(due.number, [due.due_ns])
            raise
        finally:
            self._taken -= len(taken)

    async def _find(self, due: Due) -> Found | None:
        over, self._over = self._over, None
        if over is not None and over[0] == due:
            return over[1]
        if due.due_ns > self._ahead_ns:
            self._ahead_ns = max(due.due_ns, self._queue.horizon(self.frames.room))
        return await self.frames.find(due, self._ahead_ns)

    async def _note_release(self) -> None:
        """Notes what was released: before there is another release, or a crash could hide it."""
        if self._unnoted:
            await self._released.add(self._unnoted)
            self._unnoted = []
            in_memory = self._partition.settings.in_memory
            await self.frames.trim(self._released.spans, self.frames.next if in_memory else self._unmarked)

    async def close(self) -> None:
        """Stops releasing. What is taken after this is released when the partition is opened again."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._released.close()


async def _check_payloads(incoming: Incoming) -> None:
    """Decompresses the payloads, which must be possible when the records part."""
    frame = incoming.frame
    if frame.compression == Compression.COMPRESSION_UNSPECIFIED:
        return
    reader = FrameReader(incoming.data)
    try:
        if frame.payloads_bytes > INLINE_BYTES:
            await asyncio.to_thread(reader.payload, 0)
        else:
            reader.payload(0)
    except ValueError as error:
        raise InvalidField([FieldViolation("frame.payloads", f"cannot be decompressed: {error}")]) from error
