"""Times and durations as programs have them, for the messages of the bus."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_ns(field: str, time: datetime) -> int:
    """Unix nanoseconds of a time that has a time zone.

    Raises:
        ValueError: it has none.
    """
    if time.tzinfo is None:
        raise ValueError(f"{field}: must have a time zone, such as datetime.now(UTC)")
    return (time - _EPOCH) // _MICROSECOND * 1000


def from_ns(nanoseconds: int) -> datetime:
    """The time in UTC, to the microsecond."""
    return _EPOCH + timedelta(microseconds=nanoseconds // 1000)


def timestamp(field: str, time: datetime) -> Timestamp:
    """A time that has a time zone, as a message.

    Raises:
        ValueError: it has none.
    """
    message = Timestamp()
    message.FromNanoseconds(to_ns(field, time))
    return message


def duration(field: str, seconds: float) -> Duration:
    """Seconds as a message.

    Raises:
        ValueError: they are below 0, or no number.
    """
    if not 0 <= seconds < inf:
        raise ValueError(f"{field}: must be 0 seconds or more")
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message
