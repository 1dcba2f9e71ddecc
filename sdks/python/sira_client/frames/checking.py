"""Whether a frame is one: the rules that its columns keep."""

from __future__ import annotations

from collections.abc import Sequence

from sira.bus.v1.frame_pb2 import Compression, Frame

MAX_RECORDS = 10_000
MAX_PAYLOADS_BYTES = 32 << 20
"""Payloads of a frame before compression, at most: what a consumer must be ready to hold."""
MAX_KEY_BYTES = 1024
MAX_ID_LENGTH = 128
MAX_ATTRIBUTES_BYTES = 64 << 10
"""Size of the serialized attributes of one record, at most."""
_KNOWN = frozenset(Compression.values())


class FrameError(ValueError):
    """A frame breaks a rule.

    Attributes:
        field: the field of the Frame.
        rule: what it must be.
    """

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


def check(frame: Frame, *, max_record_bytes: int) -> None:
    """Checks that each column has its length and its sizes add up, and that no record is too large.

    What is compressed is not looked into.

    Raises:
        FrameError: a rule is broken.
    """
    count = frame.count
    if not 1 <= count <= MAX_RECORDS:
        raise FrameError("count", f"must be 1 to {MAX_RECORDS:,}")
    sizes = list(frame.payload_sizes)
    if len(sizes) != count:
        raise FrameError("payload_sizes", f"must have {count} entries, one for each record")
    for name in _COLUMNS:
        if len(getattr(frame, name)) not in {0, count}:
            raise FrameError(name, f"must be empty or have {count} entries, one for each record")
    _check_sizes(frame, sum(sizes))
    if frame.key_sizes or frame.keys:
        _check_keys(frame)
    if frame.ids and max(map(len, frame.ids)) > MAX_ID_LENGTH:
        raise FrameError("ids", f"must be at most {MAX_ID_LENGTH} characters each")
    _check_records(frame, sizes, max_record_bytes)


_COLUMNS = ("key_sizes", "ids", "event_times_ns", "ttls_ms", "deliver_at_ns", "attributes")


def _check_sizes(frame: Frame, total: int) -> None:
    if frame.compression not in _KNOWN:
        raise FrameError("compression", "is not known")
    if frame.payloads_bytes > MAX_PAYLOADS_BYTES:
        raise FrameError("payloads_bytes", f"must be at most {MAX_PAYLOADS_BYTES:,}")
    if total != frame.payloads_bytes:
        raise FrameError("payload_sizes", "must add up to payloads_bytes")
    if frame.compression == Compression.COMPRESSION_UNSPECIFIED and len(frame.payloads) != total:
        raise FrameError("payloads", f"must be the {total:,} bytes that payloads_bytes says")


def _check_keys(frame: Frame) -> None:
    if sum(frame.key_sizes) != len(frame.keys):
        raise FrameError("key_sizes", "must add up to the size of keys")
    if len(frame.key_sizes) and max(frame.key_sizes) > MAX_KEY_BYTES:
        raise FrameError("key_sizes", f"must be at most {MAX_KEY_BYTES:,} each")


def _check_records(frame: Frame, payloads: Sequence[int], max_record_bytes: int) -> None:
    common = frame.common_attributes.ByteSize() if frame.HasField("common_attributes") else 0
    attributes = [a.ByteSize() for a in frame.attributes] if frame.attributes else []
    described = max(common, *attributes) if attributes else common
    if described > MAX_ATTRIBUTES_BYTES:
        raise FrameError("attributes", f"must be at most {MAX_ATTRIBUTES_BYTES:,} bytes for each record")
    # Most frames have no record that is near the limit, many not even all records together: no look at each is needed.
    if frame.payloads_bytes + len(frame.keys) + described <= max_record_bytes:
        return
    if max(payloads) + (max(frame.key_sizes) if frame.key_sizes else 0) + described <= max_record_bytes:
        return
    keys = frame.key_sizes or [0] * frame.count
    attributes = attributes or [0] * frame.count
    for index, sizes in enumerate(zip(payloads, keys, attributes, strict=True)):
        payload, key, own = sizes
        if payload + key + (own or common) > max_record_bytes:
            raise FrameError(f"record {index}", f"must be at most {max_record_bytes:,} bytes with key and attributes")
