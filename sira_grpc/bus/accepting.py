"""Whether frames and records that somebody sent may go into a topic."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from sira.bus.v1.frame_pb2 import Frame
from sira.bus.v1.record_pb2 import Record
from sira_client.frames import FrameError, check, checksum, pack_frame
from sira_client.frames.checking import MAX_ATTRIBUTES_BYTES

from sira_grpc.bus.incoming import Incoming
from sira_grpc.bus.view import TopicEntry
from sira_grpc.clock import Clock
from sira_grpc.errors import FieldViolation, InvalidField
from sira_grpc.times import NANOS

MAX_AHEAD_NS = 366 * 86_400 * NANOS
"""How far ahead a record may be scheduled."""
MAX_TIME_NS = (1 << 63) - 1
"""Latest time that a frame can hold, and how long before 1970 the first one is: Unix nanoseconds."""
MAX_FRAME_BYTES = 3 << 20
"""Size of a serialized frame, so that it fits into a message and into a frame of a log."""
MAX_SEQUENCE = (1 << 64) - 1
"""Highest sequence that may come next."""


def accept(
    topic: TopicEntry, data: bytes, crc: int, clock: Clock, *, producer_id: str = "", sequence: int = 0
) -> Incoming:
    """Returns a frame that keeps the rules, as it was sent.

    Raises:
        InvalidField: it does not match its checksum, is no Frame, or breaks a rule of frames or of the topic.
    """
    # Not a rule of the proto: to check that would copy the frame.
    if not 1 <= len(data) <= MAX_FRAME_BYTES:
        raise _invalid("frame", f"must be 1 to {MAX_FRAME_BYTES:,} bytes")
    if checksum(data) != crc:
        raise _invalid("checksum", "is not the CRC-32 of frame: it was changed on its way")
    if producer_id and not sequence:
        raise _invalid("sequence", "must be at least 1 with a producer_id")
    try:
        frame = Frame.FromString(data)
    except DecodeError as error:
        raise _invalid("frame", "is not a serialized Frame") from error
    try:
        check(frame, max_record_bytes=topic.settings.max_record_bytes)
    except FrameError as error:
        raise _invalid(f"frame.{error.field}", error.rule) from error
    if frame.deliver_at_ns and max(frame.deliver_at_ns) > clock.time_ns() + MAX_AHEAD_NS:
        raise _invalid("frame.deliver_at_ns", "must be at most 366 days ahead")
    if producer_id and sequence + frame.count > MAX_SEQUENCE:
        raise _invalid("sequence", f"must leave room for the records of the frame below {MAX_SEQUENCE}")
    return Incoming(data, frame, crc, producer_id, sequence)


def check_records(topic: TopicEntry, records: Sequence[Record], clock: Clock) -> None:
    """Checks records that are sent one by one, which the rules of the protos hold for.

    Raises:
        InvalidField: one of them breaks a rule of frames or of the topic.
    """
    latest = clock.time_ns() + MAX_AHEAD_NS
    for index, record in enumerate(records):
        within = f"records[{index}]"
        if record.HasField("event_time"):
            _nanoseconds(record.event_time, f"{within}.event_time")
        if record.HasField("deliver_at") and _nanoseconds(record.deliver_at, f"{within}.deliver_at") > latest:
            raise _invalid(f"{within}.deliver_at", "must be at most 366 days ahead")
        described = record.attributes.ByteSize() if record.HasField("attributes") else 0
        if described > MAX_ATTRIBUTES_BYTES:
            raise _invalid(f"{within}.attributes", f"must be at most {MAX_ATTRIBUTES_BYTES:,} bytes")
        limit = topic.settings.max_record_bytes
        if len(record.payload) + len(record.key) + described > limit:
            raise _invalid(within, f"must be at most {limit:,} bytes with key and attributes")


def _nanoseconds(time: Timestamp, field: str) -> int:
    try:
        found = time.ToNanoseconds()
    except ValueError as error:
        raise _invalid(field, "is not a time") from error
    if not -MAX_TIME_NS <= found <= MAX_TIME_NS:
        raise _invalid(field, "must be a time between the years 1678 and 2262")
    return found


def frame_of(records: Sequence[Record]) -> Incoming:
    """Returns the frame of records that were checked."""
    frame = pack_frame(records)
    data = frame.SerializeToString()
    return Incoming(data, frame, checksum(data))


def _invalid(field: str, rule: str) -> InvalidField:
    return InvalidField([FieldViolation(field, rule)])
