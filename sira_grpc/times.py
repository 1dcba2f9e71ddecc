"""Conversions between protobuf times and nanoseconds or seconds."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

NANOS = 1_000_000_000


def timestamp(time_ns: int) -> Timestamp:
    """Returns a Timestamp of Unix nanoseconds."""
    return Timestamp(seconds=time_ns // NANOS, nanos=time_ns % NANOS)


def seconds(duration: Duration) -> float:
    """Returns a Duration in seconds."""
    return duration.seconds + duration.nanos / NANOS


def duration(value: float) -> Duration:
    """Returns seconds as a Duration."""
    nanos = round(value * NANOS)
    return Duration(seconds=nanos // NANOS, nanos=nanos % NANOS)
