"""The wire format of protobuf, for messages that are put together from pieces that are serialized already."""

from __future__ import annotations


def field(number: int, data: bytes) -> bytes:
    """Returns a field of bytes, a string or a message. Numbers are 1 to 15."""
    return bytes((number << 3 | 2,)) + varint(len(data)) + data


def number_field(number: int, value: int) -> bytes:
    """Returns a field of an unsigned integer or an enum. Numbers are 1 to 15."""
    return bytes((number << 3,)) + varint(value)


def varint(value: int) -> bytes:
    """Returns an unsigned integer in as few bytes as it takes."""
    if value < 0x80:
        return bytes((value,))
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
