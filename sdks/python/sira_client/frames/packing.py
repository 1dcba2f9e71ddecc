"""Makes frames of records."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from sira.bus.v1.frame_pb2 import Compression, Frame
from sira.bus.v1.record_pb2 import Attributes, Record

from sira_client.frames.compression import compress

_NONE = Compression.COMPRESSION_UNSPECIFIED


def pack_columns(
    payloads: Sequence[bytes],
    *,
    keys: Sequence[bytes] | None = None,
    ids: Sequence[str] | None = None,
    event_times_ns: Sequence[int] | None = None,
    ttls_ms: Sequence[int] | None = None,
    deliver_at_ns: Sequence[int] | None = None,
    attributes: Attributes | Sequence[Attributes] | None = None,
    compression: Compression.ValueType = _NONE,
) -> bytes:
    """Returns the serialized frame of records that are given column by column: the fast way.

    Args:
        payloads: one for each record, at least one.
        keys, ids, event_times_ns, ttls_ms, deliver_at_ns: one for each record, empty or 0 for none; or None.
        attributes: what every record says of itself, or one for each record.
        compression: of the payloads, where it gains anything.

    Raises:
        ValueError: the columns have different lengths.
    """
    each = attributes if not isinstance(attributes, Attributes) else None
    columns = (keys, ids, event_times_ns, ttls_ms, deliver_at_ns, each)
    if any(column is not None and len(column) != len(payloads) for column in columns):
        raise ValueError("columns must have one entry for each payload")
    frame = Frame(
        count=len(payloads),
        payload_sizes=list(map(len, payloads)),
        ids=ids or (),
        event_times_ns=event_times_ns or (),
        ttls_ms=ttls_ms or (),
        deliver_at_ns=deliver_at_ns or (),
        attributes=each or (),
    )
    if keys is not None:
        frame.keys = b"".join(keys)
        frame.key_sizes.extend(map(len, keys))
    if isinstance(attributes, Attributes):
        frame.common_attributes.CopyFrom(attributes)
    return _finish(frame, payloads, compression).SerializeToString()


def pack(records: Sequence[Record], *, compression: Compression.ValueType = _NONE) -> bytes:
    """Returns the serialized frame of records, at least one. See pack_frame()."""
    return pack_frame(records, compression=compression).SerializeToString()


def pack_frame(records: Sequence[Record], *, compression: Compression.ValueType = _NONE) -> Frame:
    """Returns the frame of records, at least one.

    Attributes that all of them share are stored once.
    """
    frame = Frame(count=len(records), payload_sizes=[len(record.payload) for record in records])
    keys = [record.key for record in records]
    if any(keys):
        frame.keys = b"".join(keys)
        frame.key_sizes.extend(map(len, keys))
    if any(record.id for record in records):
        frame.ids.extend(record.id for record in records)
    if any(record.HasField("event_time") for record in records):
        frame.event_times_ns.extend(r.event_time.ToNanoseconds() if r.HasField("event_time") else 0 for r in records)
    if any(record.HasField("ttl") for record in records):
        frame.ttls_ms.extend(_milliseconds(record.ttl) if record.HasField("ttl") else 0 for record in records)
    if any(record.HasField("deliver_at") for record in records):
        frame.deliver_at_ns.extend(r.deliver_at.ToNanoseconds() if r.HasField("deliver_at") else 0 for r in records)
    _pack_attributes(frame, records)
    return _finish(frame, [record.payload for record in records], compression)


def _pack_attributes(frame: Frame, records: Sequence[Record]) -> None:
    first = records[0].attributes
    if all(record.attributes == first for record in records):
        if records[0].HasField("attributes"):
            frame.common_attributes.CopyFrom(first)
    else:
        frame.attributes.extend(record.attributes for record in records)


def _finish(frame: Frame, payloads: Sequence[bytes], compression: Compression.ValueType) -> Frame:
    joined = b"".join(payloads)
    frame.payloads_bytes = len(joined)
    frame.payloads, frame.compression = compress(joined, compression)
    return frame


def _milliseconds(duration: Duration) -> int:
    """Rounded up: a TTL must not become none."""
    return duration.seconds * 1000 + -(-duration.nanos // 1_000_000)
