"""Durations of messages, in seconds."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration


def seconds(duration: Duration, default: float = 0.0) -> float:
    """The length of a duration in seconds; the default where it is not above 0."""
    length = duration.seconds + duration.nanos / 1e9
    return length if length > 0 else default
