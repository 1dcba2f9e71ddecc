"""The checksum of a row: over what it holds, and over the numbers and names that say which row it is."""

from __future__ import annotations

import zlib


def checksum(data: bytes, *named: int | str) -> int:
    """Returns the CRC-32 of data and of what belongs to it."""
    return zlib.crc32(data, zlib.crc32(" ".join(map(str, named)).encode()))
