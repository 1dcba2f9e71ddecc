"""Frames as a partition's log holds them: sealed with a checksum and the hash of the one before, opened and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from google.protobuf.message import DecodeError
from sira.bus.internal.v1.stored_frame_pb2 import Span, StoredFrame
from sira_client.frames import FrameReader, checksum

from sira_grpc.errors import FieldViolation, InvalidField
from sira_grpc.store.api import MAX_FRAME_BYTES


class CorruptFrame(Exception):
    """A stored frame is not what was written."""


class Held:
    """A frame of a partition, in memory.

    Attributes:
        number: of the frame in its log.
        base: offset of its first record.
        end: one after the offset of its last.
        count: number of its records.
        offsets: of each record, where they do not follow one another; otherwise empty.
        publish_ns: when it was published, Unix nanoseconds.
        expires_ns: when the first of its records expires; 0 if none does.
        only_for: uid of the one subscription that it is for; empty for all.
        redrives: how often its records came back from being dead letters.
        released: the scheduled records that it holds, by their numbers.
        producer_id, sequence: who published it, and which it was; empty and 0 where that does not matter.
        sent: number of records that the producer sent.
        checksum: CRC-32 of data.
        data: the serialized Frame; empty if it is broken.
        size: of the stored frame, in bytes.
        broken: what it held is lost.
    """

    __slots__ = (
        "_reader", "base", "broken", "checksum", "count", "data", "end", "expires_ns", "number", "offsets", "only_for",
        "producer_id", "publish_ns", "redrives", "released", "sent", "sequence", "size",
    )  # fmt: skip

    def __init__(self, number: int, stored: StoredFrame, size: int, data: bytes | None = None) -> None:
        self.number = number
        self.base = stored.base_offset
        self.count = stored.count
        self.offsets: Sequence[int] = tuple(stored.offsets)
        self.end = self.offsets[-1] + 1 if self.offsets else self.base + self.count
        self.publish_ns = stored.publish_ns
        self.expires_ns = stored.expires_ns
        self.only_for = stored.redrive.subscription_uid
        self.redrives = stored.redrive.redrives
        # Copies: a part of a message would keep all of it in memory.
        self.released: Sequence[Span] = tuple(Span(first=each.first, end=each.end) for each in stored.released)
        self.producer_id = stored.producer_id
        self.sequence = stored.sequence
        self.sent = stored.sent or stored.count
        self.checksum = stored.checksum
        self.data = stored.frame if data is None else data
        self.size = size
        self.broken = False
        self._reader: FrameReader | None = None

    @classmethod
    def lost(cls, number: int, base: int, end: int) -> Held:
        """Returns what stands for a frame that cannot be read: the offsets of its records."""
        held = cls(number, StoredFrame(base_offset=base, count=end - base), 0)
        held.broken = True
        return held

    @property
    def reader(self) -> FrameReader:
        """Reads its records. Kept, as several may want it."""
        if self._reader is None:
            self._reader = FrameReader(self.data)
        return self._reader

    def offset_of(self, index: int) -> int:
        """Returns the offset of a record by its place in the frame."""
        return self.offsets[index] if self.offsets else self.base + index

    def expired(self, now_ns: int) -> list[int]:
        """Returns the places of the records whose time was over at a moment."""
        if not self.expires_ns or self.expires_ns > now_ns or self.broken:
            return []
        age_ms = (now_ns - self.publish_ns) / 1e6
        return [index for index, ttl in enumerate(self.reader.frame.ttls_ms) if ttl and ttl <= age_ms]


def expires_ns(publish_ns: int, ttls_ms: Sequence[int]) -> int:
    """Returns when the first of the records with these TTLs expires, Unix nanoseconds; 0 if none does."""
    shortest = min((ttl for ttl in ttls_ms if ttl), default=0)
    return publish_ns + shortest * 1_000_000 if shortest else 0


def check_size(data: bytes) -> None:
    """Checks that a frame, as it is to be stored, is one that the store takes.

    Raises:
        InvalidField: it is too large.
    """
    if len(data) > MAX_FRAME_BYTES:
        raise InvalidField([FieldViolation("frame", f"must be at most {MAX_FRAME_BYTES:,} bytes as it is stored")])


_FRAME_TAG = b"\x7a"
"""Of the last field of StoredFrame, `frame`."""


def seal(header: StoredFrame, frame: bytes) -> bytes:
    """Returns the stored frame of a header, which has everything else, and a serialized Frame.

    The same as setting the field and serializing, with one copy of what is large rather than three.
    """
    size, length = len(frame), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return b"".join((header.SerializeToString(), _FRAME_TAG, length, frame))


def open_stored(number: int, data: bytes) -> tuple[Held, StoredFrame]:
    """Reads a stored frame and checks it against its checksum.

    Raises:
        CorruptFrame: it is not what was written.
    """
    try:
        stored = StoredFrame.FromString(data)
    except DecodeError as error:
        raise CorruptFrame(f"frame {number} cannot be read") from error
    if checksum(stored.frame) != stored.checksum:
        raise CorruptFrame(f"frame {number} does not match its checksum")
    return Held(number, stored, len(data)), stored


def link(data: bytes) -> bytes:
    """Returns the hash of a stored frame, which the next one holds: SHA-256."""
    return hashlib.sha256(data).digest()
