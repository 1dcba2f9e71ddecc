"""The form in which what the store writes lies in NATS messages: a header of ours with a checksum, then the bytes."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

_MAGIC = b"SR"
_VERSION = 1
_HEAD = struct.Struct("<2sBB16sHH")
_CRC = struct.Struct("<I")
_FRAME = struct.Struct("<2sBB16sHHqQ8s")

STATE_HEAD_BYTES = _HEAD.size + _CRC.size


class Damaged(Exception):
    """A message is not what was written."""


class Kind(IntEnum):
    """What a message of the state says of its key."""

    PUT = 1
    DELETE = 2
    CHECK = 3
    MARK = 4


_KINDS = frozenset(Kind)


@dataclass(frozen=True, slots=True)
class StateMessage:
    """A message of the state: one operation of a commit.

    Attributes:
        kind: what it does.
        commit_id: 16 random bytes that all messages of a commit share.
        place, count: which of how many messages of its commit it is; the first is 1.
        value: of a put.
    """

    kind: Kind
    commit_id: bytes
    place: int
    count: int
    value: bytes


def encode_state(subject: str, message: StateMessage) -> bytes:
    """Returns the payload of a message on a subject."""
    head = _HEAD.pack(_MAGIC, _VERSION, message.kind, message.commit_id, message.place, message.count)
    crc = zlib.crc32(message.value, zlib.crc32(head, zlib.crc32(subject.encode())))
    return b"".join((head, _CRC.pack(crc), message.value))


def decode_state(subject: str, payload: bytes) -> StateMessage:
    """Returns what encode_state was given.

    Raises:
        Damaged: it is something else.
    """
    if len(payload) < STATE_HEAD_BYTES:
        raise Damaged
    head = payload[: _HEAD.size]
    (crc,) = _CRC.unpack_from(payload, _HEAD.size)
    value = payload[STATE_HEAD_BYTES:]
    if zlib.crc32(value, zlib.crc32(head, zlib.crc32(subject.encode()))) != crc:
        raise Damaged
    magic, version, kind, commit_id, place, count = _HEAD.unpack(head)
    if magic != _MAGIC or version != _VERSION or kind not in _KINDS:
        raise Damaged
    return StateMessage(Kind(kind), commit_id, place, count, value)


@dataclass(frozen=True, slots=True)
class FrameMessage:
    """A message of a log: one frame of an append.

    Attributes:
        append_id: 16 random bytes that all frames of an append share.
        place, count: which of how many frames of its append it is; the first is 1.
        time_ns: when it was appended, in Unix nanoseconds.
        offset: in its partition.
        life: 8 random bytes that all frames of a partition share, until it is deleted.
        data: the frame.
    """

    append_id: bytes
    place: int
    count: int
    time_ns: int
    offset: int
    life: bytes
    data: bytes


def encode_frame(message: FrameMessage) -> bytes:
    """Returns the payload of a frame."""
    head = _FRAME.pack(
        _MAGIC,
        _VERSION,
        0,
        message.append_id,
        message.place,
        message.count,
        message.time_ns,
        message.offset,
        message.life,
    )
    return b"".join((head, _CRC.pack(zlib.crc32(message.data, zlib.crc32(head))), message.data))


def decode_frame(payload: bytes) -> FrameMessage:
    """Returns what encode_frame was given.

    Raises:
        Damaged: it is something else.
    """
    size = _FRAME.size + _CRC.size
    if len(payload) < size:
        raise Damaged
    head = payload[: _FRAME.size]
    (crc,) = _CRC.unpack_from(payload, _FRAME.size)
    data = payload[size:]
    if zlib.crc32(data, zlib.crc32(head)) != crc:
        raise Damaged
    magic, version, _, append_id, place, count, time_ns, offset, life = _FRAME.unpack(head)
    if magic != _MAGIC or version != _VERSION:
        raise Damaged
    return FrameMessage(append_id, place, count, time_ns, offset, life, data)
