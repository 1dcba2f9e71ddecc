"""How the payloads of a frame are compressed, in words."""

from __future__ import annotations

from typing import Literal

from sira.bus.v1 import frame_pb2

Compression = Literal["zstd", "lz4"] | None
"""`zstd` makes them smallest, `lz4` costs least; None leaves them as they are."""


def compression_value(name: Compression) -> frame_pb2.Compression.ValueType:
    """The compression as a value of its message.

    Raises:
        ValueError: there is none of that name.
    """
    match name:
        case None:
            return frame_pb2.Compression.COMPRESSION_UNSPECIFIED
        case "zstd":
            return frame_pb2.Compression.COMPRESSION_ZSTD
        case "lz4":
            return frame_pb2.Compression.COMPRESSION_LZ4
    raise ValueError(f"compression: {name!r} must be 'zstd', 'lz4' or None")
