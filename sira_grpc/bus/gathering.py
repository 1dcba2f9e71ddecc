"""Makes one frame of some of the records of several others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sira.bus.v1.frame_pb2 import Compression, Frame
from sira_client.frames import FrameReader, cut
from sira_client.frames.compression import compress

_NONE = Compression.COMPRESSION_UNSPECIFIED


class Part(NamedTuple):
    """Records of a frame, by their indexes."""

    reader: FrameReader
    indexes: list[int]


def gather(parts: Sequence[Part]) -> Frame:
    """Returns a frame of these records, at least one, in this order.

    It is compressed as the first of the frames that is.

    Raises:
        ValueError: payloads cannot be decompressed.
    """
    if len(parts) == 1:
        return _of_one(parts[0])
    frame = Frame()
    payloads = [part.reader.payload(index) for part in parts for index in part.indexes]
    frame.count = len(payloads)
    frame.payload_sizes.extend(map(len, payloads))
    if any(part.reader.frame.key_sizes for part in parts):
        keys = [part.reader.key(index) for part in parts for index in part.indexes]
        frame.keys = b"".join(keys)
        frame.key_sizes.extend(map(len, keys))
    _gather_column(frame, parts, "ids", "")
    for name in ("event_times_ns", "ttls_ms", "deliver_at_ns"):
        _gather_column(frame, parts, name, 0)
    _gather_attributes(frame, parts)
    joined = b"".join(payloads)
    frame.payloads_bytes = len(joined)
    kind = next((part.reader.frame.compression for part in parts if part.reader.frame.compression != _NONE), _NONE)
    frame.payloads, frame.compression = compress(joined, kind)
    return frame


def _of_one(part: Part) -> Frame:
    whole = part.reader.frame
    frame = Frame()
    if part.indexes == list(range(whole.count)):
        frame.CopyFrom(whole)
    else:
        frame.MergeFromString(cut(part.reader, part.indexes))
    return frame


def _gather_column(frame: Frame, parts: Sequence[Part], name: str, default: str | int) -> None:
    columns = [getattr(part.reader.frame, name) for part in parts]
    if not any(columns):
        return
    gathered = getattr(frame, name)
    for part, column in zip(parts, columns, strict=True):
        gathered.extend([column[index] for index in part.indexes] if column else [default] * len(part.indexes))


def _gather_attributes(frame: Frame, parts: Sequence[Part]) -> None:
    common = parts[0].reader.frame.common_attributes
    if all(not part.reader.frame.attributes and part.reader.frame.common_attributes == common for part in parts):
        if parts[0].reader.frame.HasField("common_attributes"):
            frame.common_attributes.CopyFrom(common)
        return
    frame.attributes.extend(part.reader.attributes(index) for part in parts for index in part.indexes)
