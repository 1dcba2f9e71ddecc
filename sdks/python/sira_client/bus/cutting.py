"""Cuts many records into columns that fit into a frame each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sira_client.bus.outgoing import RECORD_OVERHEAD, OutgoingFrame

Columns = tuple[Sequence[bytes], Sequence[bytes] | None, Sequence[str] | None]
"""Payloads, keys and ids of records."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """When a frame is full.

    Attributes:
        records: in it.
        bytes: of payloads, keys, ids and attributes.
    """

    records: int
    bytes: int


def cut(
    payloads: Sequence[bytes], keys: Sequence[bytes] | None, ids: Sequence[str] | None, limits: BatchLimits
) -> Iterator[Columns]:
    """Yields pieces of the columns, in order. None is beyond the limits, unless it is one record."""
    for first in range(0, len(payloads), limits.records):
        last = min(first + limits.records, len(payloads))
        piece = payloads[first:last], keys and keys[first:last], ids and ids[first:last]
        if _size(*piece) <= limits.bytes:
            yield piece
        else:
            yield from _by_bytes(*piece, limits.bytes)


def _by_bytes(
    payloads: Sequence[bytes], keys: Sequence[bytes] | None, ids: Sequence[str] | None, most: int
) -> Iterator[Columns]:
    start = size = 0
    for index, payload in enumerate(payloads):
        own = len(payload) + (len(keys[index]) if keys else 0) + (len(ids[index]) if ids else 0)
        if index > start and size + own > most:
            yield payloads[start:index], keys and keys[start:index], ids and ids[start:index]
            start, size = index, 0
        size += own
    yield payloads[start:], keys and keys[start:], ids and ids[start:]


def whole(
    partition: int, payloads: Sequence[bytes], keys: Sequence[bytes] | None, ids: Sequence[str] | None
) -> OutgoingFrame:
    """A frame of these records, with one promise for all of them."""
    size = _size(payloads, keys, ids) + len(payloads) * RECORD_OVERHEAD
    promises = [asyncio.get_running_loop().create_future()]
    return OutgoingFrame(
        partition, payloads, keys or (), ids or (), extras={}, promises=promises, size=size, whole=True
    )


def _size(payloads: Sequence[bytes], keys: Sequence[bytes] | None, ids: Sequence[str] | None) -> int:
    return sum(map(len, payloads)) + sum(map(len, keys or ())) + sum(map(len, ids or ()))
