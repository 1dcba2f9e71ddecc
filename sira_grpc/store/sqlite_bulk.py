"""Many rows in one SQL statement.

Python's sqlite3 lets go of the interpreter at each step of a statement, and beside a busy event loop it can take
milliseconds to get it back. So rows are not written or read one a step: they go in as one list of values, and come out
concatenated by the engine.
"""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_SIZES = (256, 64, 16, 4, 1)
_MAX_PAGE_ROWS = 512


def insert(db: sqlite3.Connection, into: str, width: int, values: Sequence[Any], then: str = "") -> None:
    """Inserts rows of width columns, given as one flat sequence. `into` precedes VALUES, `then` follows."""
    start, rows = 0, len(values) // width
    for size in _SIZES:
        while rows >= size:
            end = start + size * width
            db.execute(_statement(into, width, size, then), values[start:end])
            start, rows = end, rows - size


@functools.lru_cache(maxsize=64)
def _statement(into: str, width: int, rows: int, then: str) -> str:
    row = f"({','.join('?' * width)})"
    return f"{into} VALUES {','.join([row] * rows)} {then}"


def text_list(texts: Iterable[str]) -> str:
    """Returns the parameter for `IN (SELECT value FROM json_each(?))`."""
    return json.dumps(list(texts))


@dataclass(frozen=True, slots=True)
class Source:
    """A table whose rows have a number that orders them, one more integer, a crc and data."""

    table: str
    number: str
    extra: str


def read_page(
    db: sqlite3.Connection, source: Source, where: str, params: Sequence[Any], *, max_rows: int, max_bytes: int
) -> list[tuple[str, int, int, bytes]]:
    """Reads the first rows, in order, that meet a condition: number, extra, crc and data of each.

    max_bytes bounds the data; the first row comes whatever its size. To be called within a transaction, since it reads
    twice: first the sizes, then the data of what fits.
    """
    rest = f"FROM {source.table} WHERE {where} ORDER BY {source.number} LIMIT ?"
    numbers, extras, crcs, lengths = db.execute(
        "SELECT group_concat(number), group_concat(extra), group_concat(crc), group_concat(size) FROM "
        f"(SELECT {source.number} AS number, {source.extra} AS extra, crc, length(data) AS size {rest})",
        (*params, min(max_rows, _MAX_PAGE_ROWS)),
    ).fetchone()
    if numbers is None:
        return []
    sizes = [int(size) for size in lengths.split(",")]
    count = _fitting(sizes, max_bytes)
    data: bytes = db.execute(
        f"SELECT CAST(group_concat(data, '') AS BLOB) FROM (SELECT data {rest})", (*params, count)
    ).fetchone()[0]
    rows = []
    start = 0
    columns = (text.split(",")[:count] for text in (numbers, extras, crcs))
    for number, extra, crc, size in zip(*columns, sizes[:count], strict=True):
        rows.append((number, int(extra), int(crc), data[start : start + size]))
        start += size
    return rows


def _fitting(sizes: Sequence[int], max_bytes: int) -> int:
    """Returns how many of the sizes fit together, at least 1."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if total > max_bytes and count:
            return count
    return len(sizes)
