"""The keys that were deleted and not compacted away yet, for the snapshots that tell of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sira_grpc.store.api import MAX_OPS, Commit
from sira_grpc.store.sqlite_bulk import insert
from sira_grpc.store.sqlite_checksum import checksum
from sira_grpc.store.sqlite_errors import corrupt

# A row's number is its revision and its place in the commit: so rows lie in the order of revisions.
_PLACES = 1 << MAX_OPS.bit_length()


def first_after(revision: int) -> int:
    """Returns the lowest number that a row of a later revision may have."""
    return (revision + 1) * _PLACES


def write(db: sqlite3.Connection, commits: Iterable[Commit]) -> None:
    """Notes what commits have deleted. A key that is written again later keeps its row: readers look."""
    values: list[Any] = []
    for commit in commits:
        for place, change in enumerate(commit.changes):
            if change.value is None:
                number = commit.revision * _PLACES + place
                values += (number, change.key, checksum(change.key.encode(), number))
    if values:
        insert(db, "INSERT INTO tombstone", 3, values)


def read(db: sqlite3.Connection, path: Path, prefix: str, end: str) -> dict[str, int]:
    """Returns the keys after prefix and before end that are not there, with the revisions of their deletion.

    Raises:
        StoreCorrupt: a row is not what was written.
    """
    compacted: int = db.execute("SELECT value FROM meta WHERE name = 'compacted'").fetchone()[0]
    # In one step of the statement, see sqlite_bulk; a key has no comma.
    columns = db.execute(
        "SELECT group_concat(id), group_concat(key), group_concat(crc) FROM (SELECT id, key, crc FROM tombstone "
        "WHERE id >= ? AND key > ? AND key < ? "
        "AND NOT EXISTS (SELECT 1 FROM state WHERE state.key = tombstone.key) ORDER BY id)",
        (first_after(compacted), prefix, end),
    ).fetchone()
    deleted: dict[str, int] = {}
    for row, key, crc in zip(*(column.split(",") for column in columns if column), strict=True):
        number = int(row)
        if checksum(key.encode(), number) != int(crc):
            raise corrupt(path, f"the deletion of {key} at revision {number // _PLACES}")
        deleted[key] = number // _PLACES
    return deleted
