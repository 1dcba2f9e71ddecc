"""The checksum of a frame's bytes."""

from __future__ import annotations

import zlib


def checksum(data: bytes) -> int:
    """Returns the CRC-32 of a serialized frame, as in zlib: 0 to 2**32 - 1."""
    return zlib.crc32(data)
