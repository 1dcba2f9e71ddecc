"""Writes what is left of a partition's frames into a log of its own."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sira.bus.internal.v1.stored_frame_pb2 import Redrive, StoredFrame
from sira_client.frames import FrameReader, checksum, cut

from sira_grpc.bus.segment import Segment
from sira_grpc.bus.stored import Held, expires_ns, link
from sira_grpc.store.api import LogStore

BATCH_FRAMES = 256
BATCH_BYTES = 4 << 20
"""What is written at once. A frame may be larger."""

log = logging.getLogger(__name__)


class CompactedLog:
    """A log of rewritten frames: one for each that it is given, or none. It has a chain of its own.

    Args:
        logs, name: where it is.
        first: the number that its first frame gets.

    Attributes:
        segment: what was written.
        first: its first frame; None if there is none.
    """

    def __init__(self, logs: LogStore, name: str, first: int) -> None:
        self.segment = Segment(logs, name)
        self.segment.first = self.segment.next = first
        self.first: Held | None = None
        self._logs = logs
        self._head = b""
        self._waiting: list[tuple[StoredFrame, bytes]] = []
        self._waiting_bytes = 0

    async def add(self, held: Held, places: Sequence[int]) -> None:
        """Takes some of the records of a frame, by their places; none is allowed.

        Where the payloads cannot be taken apart, all are kept.

        Raises:
            StoreUnavailable: it was not written.
        """
        if not places:
            return
        if len(places) < held.count:
            try:
                # A reader of its own: that of the frame would keep the decompressed payloads.
                data = cut(FrameReader(held.data), places)
            except ValueError as error:
                log.warning("%s: a frame is kept whole: %s", self.segment.name, error)
                places, data = range(held.count), held.data
        else:
            data = held.data
        stored = _rewritten(held, places, data)
        stored.previous = self._head
        raw = stored.SerializeToString()
        self._head = link(raw)
        self._waiting.append((stored, raw))
        self._waiting_bytes += len(raw)
        if len(self._waiting) >= BATCH_FRAMES or self._waiting_bytes >= BATCH_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Writes what waits.

        Raises:
            StoreUnavailable: it was not written.
        """
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not waiting:
            return
        frames = [raw for _, raw in waiting]
        number = await self._logs.append(self.segment.name, frames, expected=self.segment.next)
        for place, (stored, raw) in enumerate(waiting):
            held = Held(number + place, stored, len(raw))
            self.segment.appended(held)
            self.segment.records += held.count
            self.first = self.first or held


def _rewritten(held: Held, places: Sequence[int], data: bytes) -> StoredFrame:
    offsets = [held.offset_of(place) for place in places]
    stored = StoredFrame(
        base_offset=offsets[0],
        count=len(offsets),
        publish_ns=held.publish_ns,
        checksum=checksum(data),
        producer_id=held.producer_id,
        sequence=held.sequence,
        released=held.released,
        sent=held.sent if held.sent != len(offsets) else 0,
        frame=data,
    )
    if offsets[-1] - offsets[0] >= len(offsets):
        stored.offsets.extend(offsets)
    if held.redrives:
        stored.redrive.CopyFrom(Redrive(subscription_uid=held.only_for, redrives=held.redrives))
    if held.expires_ns:
        stored.expires_ns = expires_ns(held.publish_ns, FrameReader(data).frame.ttls_ms)
    return stored
