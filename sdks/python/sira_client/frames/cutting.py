"""Makes a smaller frame of some of the records of another."""

from __future__ import annotations

from collections.abc import Sequence

from sira.bus.v1.frame_pb2 import Compression, Frame

from sira_client.frames.compression import compress
from sira_client.frames.reader import FrameReader


def cut(reader: FrameReader, indexes: Sequence[int]) -> bytes:
    """Returns the serialized frame of the records with these indexes, at least one, compressed as the whole is.

    Raises:
        ValueError: the payloads cannot be decompressed.
    """
    whole = reader.frame
    payloads = [reader.payload(index) for index in indexes]
    frame = Frame(count=len(payloads), payload_sizes=list(map(len, payloads)))
    if whole.key_sizes:
        keys = [reader.keys[index] for index in indexes]
        frame.keys = b"".join(keys)
        frame.key_sizes.extend(map(len, keys))
    for name in ("ids", "event_times_ns", "ttls_ms", "deliver_at_ns", "attributes"):
        column = getattr(whole, name)
        if column:
            getattr(frame, name).extend(column[index] for index in indexes)
    if whole.HasField("common_attributes"):
        frame.common_attributes.CopyFrom(whole.common_attributes)
    joined = b"".join(payloads)
    frame.payloads_bytes = len(joined)
    frame.payloads, frame.compression = compress(joined, whole.compression)
    return frame.SerializeToString()


def cheap_to_cut(frame: Frame) -> bool:
    """Whether cutting needs no decompression."""
    return frame.compression == Compression.COMPRESSION_UNSPECIFIED
