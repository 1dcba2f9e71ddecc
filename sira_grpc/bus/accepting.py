"""Whether a frame that somebody sent may go into a topic."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from sira.bus.v1.frame_pb2 import Frame
from sira.bus.v1.record_pb2 import Record
from sira_client.frames import FrameError, check, checksum, pack_frame

from sira_grpc.bus.incoming import Incoming
from sira_grpc.bus.view import TopicEntry
from sira_grpc.clock import Clock
from sira_grpc.errors import FieldViolation, InvalidField
from sira_grpc.times import NANOS

MAX_AHEAD_NS = 366 * 86_400 * NANOS
"""How far ahead a record may be scheduled."""


def accept(
    topic: TopicEntry, data: bytes, crc: int, clock: Clock, *, producer_id: str = "", sequence: int = 0
) -> Incoming:
    """Returns a frame that keeps the rules, as it was sent.

    Raises:
        InvalidField: it does not match its checksum, is no Frame, or breaks a rule of frames or of the topic.
    """
    if checksum(data) != crc:
        raise _invalid("checksum", "is not the CRC-32 of frame: it was changed on its way")
    if producer_id and not sequence:
        raise _invalid("sequence", "must be at least 1 with a producer_id")
    try:
        frame = Frame.FromString(data)
    except DecodeError as error:
        raise _invalid("frame", "is not a serialized Frame") from error
    return _checked(topic, data, frame, crc, clock, producer_id if sequence else "", sequence, "frame.")


def accept_records(topic: TopicEntry, records: Sequence[Record], clock: Clock) -> Incoming:
    """Returns the frame of records that were sent one by one.

    Raises:
        InvalidField: one of them breaks a rule of the topic.
    """
    frame = pack_frame(records)
    data = frame.SerializeToString()
    return _checked(topic, data, frame, checksum(data), clock, "", 0, "records: ")


def _checked(
    topic: TopicEntry,
    data: bytes,
    frame: Frame,
    crc: int,
    clock: Clock,
    producer_id: str,
    sequence: int,
    within: str,
) -> Incoming:
    try:
        check(frame, max_record_bytes=topic.settings.max_record_bytes)
    except FrameError as error:
        raise _invalid(f"{within}{error.field}", error.rule) from error
    if frame.deliver_at_ns and max(frame.deliver_at_ns) > clock.time_ns() + MAX_AHEAD_NS:
        raise _invalid(f"{within}deliver_at_ns", "must be at most 366 days ahead")
    return Incoming(data, frame, crc, producer_id, sequence)


def _invalid(field: str, rule: str) -> InvalidField:
    return InvalidField([FieldViolation(field, rule)])
