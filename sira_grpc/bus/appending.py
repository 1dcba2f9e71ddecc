"""Puts frames into a partition, one batch at a time: each once, in order, sealed and chained."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

from sira.bus.internal.v1.stored_frame_pb2 import StoredFrame
from sira.bus.v1.frame_pb2 import Frame
from sira_client.frames import FrameReader, checksum, cut

from sira_grpc.bus.incoming import Incoming, Published
from sira_grpc.bus.metrics import BusMetrics
from sira_grpc.bus.partition import Partition
from sira_grpc.bus.producers import SCHEDULED
from sira_grpc.bus.pump import Pump
from sira_grpc.bus.retention import overfull, retain
from sira_grpc.bus.stored import Held, check_size, expires_ns, link, seal
from sira_grpc.clock import Clock
from sira_grpc.errors import FieldViolation, InvalidField, SiraError, TopicFull
from sira_grpc.store.api import MAX_OPS
from sira_grpc.times import NANOS

BATCH_BYTES = 4 << 20
"""Frames that are stored together, at most; one may be larger."""
MARK_FRAMES = 1024
MARK_BYTES = 64 << 20
"""After so many frames, or bytes, what is known of producers and ids is noted: opening reads no more than that."""

log = logging.getLogger(__name__)


class Scheduling(Protocol):
    """Where frames go with records whose time has not come."""

    async def take(self, incoming: Incoming, publish_ns: int) -> None:
        """Stores a frame. Raises: StoreUnavailable."""


@dataclass(slots=True)
class _Sealed:
    incoming: Incoming
    stored: StoredFrame
    data: bytes
    published: Published


class _Marking:
    """Asks for a mark, and is told."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self) -> None:
        """Tells whoever waits, if they still do."""
        if not self.done.done():
            self.done.set_result(None)


class Appender:
    """The writing side of a partition.

    Args:
        partition: what it writes to.
        scheduling: see Scheduling.
        clock: dates the frames.
        metrics: counts.
    """

    def __init__(self, partition: Partition, scheduling: Scheduling, clock: Clock, metrics: BusMetrics) -> None:
        self._partition = partition
        self._scheduling = scheduling
        self._clock = clock
        self._metrics = metrics
        self._pump: Pump[Incoming | _Marking] = Pump(
            self._write, f"bus {partition.log}", max_items=MAX_OPS, max_bytes=BATCH_BYTES
        )
        self._sealed: list[_Sealed] = []
        self._duplicates: list[tuple[Incoming, Published]] = []
        self._end = 0
        self._head = b""
        self._size = 0
        self._unmarked_frames = 0
        self._unmarked_bytes = 0
        partition.mark = self.mark

    async def publish(self, incoming: Incoming) -> Published:
        """Has a frame stored behind the others, and returns where it went when it is durable.

        Raises:
            SequenceGap, TopicFull, InvalidField, StoreUnavailable: it was not stored.
        """
        self.put(incoming)
        return await incoming.done

    def put(self, incoming: Incoming) -> None:
        """Has a frame stored behind the others; its future tells what has become of it."""
        incoming.taken_ns = self._clock.time_ns()
        self._pump.put(incoming, len(incoming.data))

    async def mark(self) -> None:
        """Has it noted what is known of producers and ids: the frames until now are not needed for that any more.

        If it cannot be written, that is logged.
        """
        marking = _Marking()
        self._pump.put(marking, 0)
        await marking.done

    async def idle(self) -> None:
        """Returns when everything that was handed over has been stored, or refused."""
        await self._pump.idle()

    async def close(self) -> None:
        """Finishes what was handed over, and leaves a mark, so that the partition opens at once."""
        await self._pump.idle()
        if self._unmarked_frames:
            await self._mark()

    async def _write(self, batch: list[Incoming | _Marking]) -> None:
        partition = self._partition
        now = max(self._clock.time_ns(), partition.newest_ns)
        self._end, self._head, self._size = partition.end, partition.head, partition.size
        for incoming in batch:
            if isinstance(incoming, _Marking):
                await self._flush()
                await self._mark()
                incoming.settle()
                continue
            try:
                await self._admit(incoming, now)
            except Exception as error:  # noqa: BLE001  whatever it is belongs to the publisher
                if incoming.producer_id:
                    partition.producers.expect(incoming.producer_id, incoming.sequence, now)
                incoming.fail(error)
        await self._flush()
        if overfull(partition):
            await self._trim()
        if self._unmarked_frames >= MARK_FRAMES or self._unmarked_bytes >= MARK_BYTES:
            await self._mark()

    async def _admit(self, incoming: Incoming, now: int) -> None:
        partition = self._partition
        scheduled = not incoming.released and incoming.last_due_ns > now
        if scheduled:
            # In the order of sending: it must not be taken if what came before it is not.
            await self._flush()
        if incoming.producer_id:
            offset = partition.producers.find(incoming.producer_id, incoming.sequence, incoming.frame.count)
            if offset is not None:
                self._duplicates.append((incoming, Published(offset, incoming.frame.count, duplicate=True)))
                return
        self._check_room(incoming)
        published = Published(self._end, incoming.frame.count)
        if incoming.frame.ids and partition.ids.window_ns and not incoming.was_here:
            published = self._without_duplicates(incoming, now)
            if published.duplicate:
                await self._skip(incoming, published, now)
                return
        if scheduled:
            await self._schedule(incoming, published, now)
        else:
            self._seal(incoming, published, now)

    async def _skip(self, incoming: Incoming, published: Published, now: int) -> None:
        """Passes over a frame whose records are all there already."""
        if self._sealed:
            await self._flush()  # only now it is known whether what it repeats is stored
            await self._admit(incoming, now)
            return
        if incoming.producer_id:
            offset = published.offset
            self._partition.producers.note(incoming.producer_id, incoming.sequence, incoming.sent, offset, now)
            self._unmarked_frames += 1
        self._duplicates.append((incoming, published))

    def _check_room(self, incoming: Incoming) -> None:
        settings = self._partition.settings
        if not settings.refuse_when_full or incoming.released:
            return
        full = settings.max_bytes is not None and self._size + len(incoming.data) > settings.max_bytes
        held = self._partition.records + self._end - self._partition.end + incoming.frame.count
        if full or (settings.max_records is not None and held > settings.max_records):
            raise TopicFull(
                f"{self._partition.topic}: partition {self._partition.number} is full",
                metadata={"topic": self._partition.topic, "partition": str(self._partition.number)},
                retry_after=1.0,
            )

    def _without_duplicates(self, incoming: Incoming, now: int) -> Published:
        """Cuts the records out of a frame whose ids are there already."""
        find = self._partition.ids.find
        places: list[int] = []
        fresh: dict[str, int] = {}
        kept: list[int] = []
        duplicates: list[bool] = []
        for index, record_id in enumerate(incoming.frame.ids):
            place = (fresh.get(record_id) if record_id in fresh else find(record_id, now)) if record_id else None
            duplicates.append(place is not None)
            if place is None:
                place = self._end + len(kept)
                kept.append(index)
                if record_id:
                    fresh[record_id] = place
            places.append(place)
        if len(kept) == incoming.frame.count:
            return Published(self._end, len(kept))
        if kept:
            try:
                incoming.data = cut(FrameReader(incoming.data), kept)
            except ValueError as error:
                raise InvalidField([FieldViolation("frame.payloads", f"cannot be decompressed: {error}")]) from error
            incoming.frame = Frame.FromString(incoming.data)
            incoming.checksum = checksum(incoming.data)
        return Published(places[kept[0]] if kept else places[0], len(kept), not kept, tuple(places), tuple(duplicates))

    async def _schedule(self, incoming: Incoming, published: Published, now: int) -> None:
        await self._scheduling.take(incoming, now)
        self._note(incoming, SCHEDULED, now)
        self._unmarked_frames += 1
        self._unmarked_bytes += len(incoming.data)
        offsets = tuple(
            offset if duplicate and offset < self._end else SCHEDULED  # it may be one of the same frame
            for offset, duplicate in zip(published.offsets, published.duplicates, strict=True)
        )
        incoming.settle(Published(SCHEDULED, published.count, False, offsets, published.duplicates))

    def _seal(self, incoming: Incoming, published: Published, now: int) -> None:
        count = incoming.frame.count
        stored = StoredFrame(
            previous=self._head,
            base_offset=self._end,
            count=count,
            publish_ns=now,
            checksum=incoming.checksum,
            producer_id=incoming.producer_id,
            sequence=incoming.sequence,
            expires_ns=expires_ns(now, incoming.frame.ttls_ms) if incoming.frame.ttls_ms else 0,
            released=incoming.released,
            redrive=incoming.redrive,
            sent=incoming.sent if incoming.sent != count else 0,
        )
        data = seal(stored, incoming.data)
        check_size(data)
        self._note(incoming, self._end, now)
        self._sealed.append(_Sealed(incoming, stored, data, published))
        self._head = link(data)
        self._end += count
        self._size += len(data)

    def _note(self, incoming: Incoming, offset: int, now: int) -> None:
        partition = self._partition
        if incoming.producer_id:
            partition.producers.note(incoming.producer_id, incoming.sequence, incoming.sent, offset, now)
        if incoming.frame.ids and not incoming.was_here:
            scheduled = offset == SCHEDULED
            offsets = [SCHEDULED if scheduled else offset + index for index in range(incoming.frame.count)]
            partition.ids.note(incoming.frame.ids, offsets, now)

    async def _flush(self) -> None:
        """Stores what was sealed, and tells those who wait."""
        sealed, self._sealed = self._sealed, []
        duplicates, self._duplicates = self._duplicates, []
        partition = self._partition
        if sealed:
            try:
                number = await partition.logs.append(
                    partition.log, [each.data for each in sealed], expected=partition.live.next
                )
            except Exception as error:  # noqa: BLE001  whatever it is belongs to the publishers
                self._retract(sealed, duplicates, error)
                return
            frames = [
                Held(number + place, each.stored, len(each.data), each.incoming.data)
                for place, each in enumerate(sealed)
            ]
            partition.appended(frames, self._head)
            self._unmarked_frames += len(sealed)
            self._unmarked_bytes += sum(len(each.data) for each in sealed)
            for each in sealed:
                each.incoming.settle(each.published)
            waited = (self._clock.time_ns() - sealed[0].incoming.taken_ns) / NANOS
            self._metrics.published(sum(held.count for held in frames), sum(held.size for held in frames), waited)
        for incoming, published in duplicates:
            incoming.settle(published)

    def _retract(self, sealed: list[_Sealed], duplicates: list[tuple[Incoming, Published]], error: Exception) -> None:
        """Makes as if what was sealed had never come. Duplicates fail too: they may be of what was not stored."""
        partition = self._partition
        for each in reversed(sealed):
            if each.incoming.producer_id:
                partition.producers.retract(each.incoming.producer_id, each.incoming.sequence)
            if not each.incoming.was_here:
                partition.ids.retract(each.incoming.frame.ids)
        for each in sealed:
            each.incoming.fail(error)
        for incoming, _ in duplicates:
            incoming.fail(error)
        self._end, self._head, self._size = partition.end, partition.head, partition.size

    async def _trim(self) -> None:
        partition = self._partition
        try:
            await retain(partition, self._clock.time_ns(), self._mark)
        except SiraError as error:
            log.warning("%s: what is too much could not be taken out: %s", partition.log, error)

    async def _mark(self) -> None:
        partition = self._partition
        if not self._unmarked_frames and partition.marks.frame == partition.live.next:
            return
        try:
            await partition.marks.save(partition.end, partition.newest_ns, self._clock.time_ns())
        except SiraError as error:
            log.warning("%s: no mark could be written: %s", partition.log, error)
            return
        self._unmarked_frames = self._unmarked_bytes = 0
