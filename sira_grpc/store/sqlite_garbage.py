"""Deletes the rows that nobody needs any more a few at a time, so that no commit waits for a large deletion."""

from __future__ import annotations

import sqlite3
from collections import deque

from sira_grpc.store.sqlite_checksum import checksum


class Garbage:
    """Ranges of row numbers whose rows are to go, kept in a table. Belongs to the writer's thread."""

    def __init__(self) -> None:
        # None: to be read from the table first.
        self._ranges: deque[tuple[int, str, int, int]] | None = None

    def __bool__(self) -> bool:
        """Whether there may be anything to delete."""
        return self._ranges is None or bool(self._ranges)

    def add(self, db: sqlite3.Connection, kind: str, low: int, high: int) -> None:
        """Hands over the rows of table kind from number low up to but not including high."""
        ranges = self.load(db)
        row = db.execute(
            "INSERT INTO garbage (kind, low, high, crc) VALUES (?, ?, ?, ?)",
            (kind, low, high, checksum(b"", kind, low, high)),
        ).lastrowid
        assert row is not None, "an INSERT has a row number"
        ranges.append((row, kind, low, high))

    def sweep(self, db: sqlite3.Connection, limit: int) -> None:
        """Deletes at most limit rows, within the caller's transaction."""
        ranges = self.load(db)
        while limit > 0 and ranges:
            row, kind, low, high = ranges[0]
            deleted = db.execute(
                f"DELETE FROM {kind} WHERE id IN (SELECT id FROM {kind} WHERE id >= ? AND id < ? ORDER BY id LIMIT ?)",
                (low, high, limit),
            ).rowcount
            if deleted < limit:
                db.execute("DELETE FROM garbage WHERE id = ?", (row,))
                ranges.popleft()
            limit -= max(deleted, 1)

    def forget(self) -> None:
        """Forgets what the transaction changed: it was rolled back."""
        self._ranges = None

    def load(self, db: sqlite3.Connection) -> deque[tuple[int, str, int, int]]:
        """Returns the ranges, read from the table unless they are known.

        Raises:
            ValueError: a range is not what was written.
        """
        if self._ranges is None:
            ranges = deque[tuple[int, str, int, int]]()
            for row, kind, low, high, crc in db.execute("SELECT id, kind, low, high, crc FROM garbage ORDER BY id"):
                if checksum(b"", kind, low, high) != crc:
                    raise ValueError(f"row {row} of the garbage")
                ranges.append((row, kind, low, high))
            self._ranges = ranges
        return self._ranges
