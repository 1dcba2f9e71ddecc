"""What a record says of itself, as its publisher gives it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sira.bus.v1.record_pb2 import Attributes, CloudEvent, Record

from sira_client.bus.times import to_ns
from sira_client.bus.tracing import current_trace_context

MAX_HEADERS = 64
MAX_HEADER_NAME = 128
MAX_HEADER_BYTES = 4096
MAX_TTL_SECONDS = 4_233_600.0
MIN_TTL_SECONDS = 0.001


class Extras(NamedTuple):
    """What few records have.

    Attributes:
        event_time_ns, deliver_at_ns: Unix nanoseconds; 0 for none.
        ttl_ms: 0 for none.
        attributes: None for none.
    """

    event_time_ns: int
    ttl_ms: int
    deliver_at_ns: int
    attributes: Attributes | None

    def write_to(self, record: Record) -> None:
        """Puts it into a record that has none of it."""
        if self.event_time_ns:
            record.event_time.FromNanoseconds(self.event_time_ns)
        if self.ttl_ms:
            record.ttl.FromMilliseconds(self.ttl_ms)
        if self.deliver_at_ns:
            record.deliver_at.FromNanoseconds(self.deliver_at_ns)
        if self.attributes is not None:
            record.attributes.CopyFrom(self.attributes)


def extras(
    headers: Mapping[str, str] | None,
    content_type: str,
    cloud_event: CloudEvent | None,
    event_time: datetime | None,
    ttl: float | None,
    deliver_at: datetime | None,
) -> Extras | None:
    """What a record has beyond payload, key and id, with the current trace; None if it has nothing.

    Raises:
        ValueError: a rule is broken, which the kernel would refuse a whole frame for.
    """
    attributes = _attributes(headers, content_type, cloud_event)
    if attributes is None and event_time is None and ttl is None and deliver_at is None:
        return None
    return Extras(
        0 if event_time is None else to_ns("event_time", event_time),
        0 if ttl is None else _milliseconds(ttl),
        0 if deliver_at is None else to_ns("deliver_at", deliver_at),
        attributes,
    )


def _attributes(
    headers: Mapping[str, str] | None, content_type: str, cloud_event: CloudEvent | None
) -> Attributes | None:
    trace_context = current_trace_context()
    if not headers and not content_type and cloud_event is None and trace_context is None:
        return None
    if headers:
        _check_headers(headers)
    return Attributes(
        headers=headers or {}, content_type=content_type, cloud_event=cloud_event, trace_context=trace_context
    )


def _check_headers(headers: Mapping[str, str]) -> None:
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"headers: must be at most {MAX_HEADERS}")
    for name, value in headers.items():
        if not 1 <= len(name) <= MAX_HEADER_NAME:
            raise ValueError(f"headers: a name must have 1 to {MAX_HEADER_NAME} characters")
        if len(value) > MAX_HEADER_BYTES or len(value.encode()) > MAX_HEADER_BYTES:
            raise ValueError(f"headers: {name}: must be at most {MAX_HEADER_BYTES:,} bytes")


def _milliseconds(ttl: float) -> int:
    """Rounded up: a TTL must not become none."""
    if not MIN_TTL_SECONDS <= ttl <= MAX_TTL_SECONDS:
        raise ValueError("ttl: must be 1 ms to 49 days, in seconds")
    return -int(-ttl * 1000 // 1)
