"""The history of the state's commits, as rows: their encoding, and reading them on from a revision."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sira_grpc.store.api import Change, Commit
from sira_grpc.store.sqlite_bulk import Source, read_page
from sira_grpc.store.sqlite_checksum import checksum
from sira_grpc.store.sqlite_errors import corrupt
from sira_grpc.store.sqlite_readers import one_moment

PAGE_BYTES = 1 << 20
"""How much history is read at a time, unless one commit is larger."""
PAGE_COMMITS = 512

_SOURCE = Source("history", number="id", extra="0")
_HEADER_LENGTH = struct.Struct("<I")
_DELETED = -1


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Some commits that touch a prefix, and the revision up to which there are no others."""

    upto: int
    commits: Sequence[Commit]


def encode(changes: Sequence[Change]) -> bytes:
    """Packs changes: the length of a header, the header (a JSON list of keys and one of value lengths), the values."""
    values = [change.value for change in changes]
    lengths = [_DELETED if value is None else len(value) for value in values]
    header = json.dumps([[change.key for change in changes], lengths], separators=(",", ":")).encode()
    return b"".join([_HEADER_LENGTH.pack(len(header)), header, *filter(None, values)])


def decode(revision: int, data: bytes) -> Commit:
    """Unpacks what encode has packed."""
    (header_length,) = _HEADER_LENGTH.unpack_from(data)
    start = _HEADER_LENGTH.size + header_length
    changes = []
    for key, length in zip(*json.loads(data[_HEADER_LENGTH.size : start]), strict=True):
        if length == _DELETED:
            changes.append(Change(key, None, revision))
        else:
            changes.append(Change(key, data[start : start + length], revision))
            start += length
    return Commit(revision, tuple(changes))


def below(commit: Commit, prefix: str) -> Commit | None:
    """Returns the part of a commit below a prefix, None if there is none."""
    changes = tuple(change for change in commit.changes if change.key.startswith(prefix))
    if len(changes) == len(commit.changes):
        return commit
    return Commit(commit.revision, changes) if changes else None


def read_history(db: sqlite3.Connection, path: Path, prefix: str, after: int) -> HistoryPage | None:
    """Reads the next commits after a revision; None if some of them have been compacted away.

    Raises:
        StoreCorrupt: a row is not what was written, or one is missing.
    """
    with one_moment(db):
        if after < db.execute("SELECT value FROM meta WHERE name = 'compacted'").fetchone()[0]:
            return None
        rows = read_page(db, _SOURCE, "id > ?", (after,), max_rows=PAGE_COMMITS, max_bytes=PAGE_BYTES)
    commits = []
    upto = after
    for number, _, crc, data in rows:
        revision = int(number)
        # Revisions have no gaps here.
        if revision != upto + 1 or checksum(data, revision) != crc:
            raise corrupt(path, f"the history at revision {upto + 1}")
        upto = revision
        if commit := below(decode(revision, data), prefix):
            commits.append(commit)
    return HistoryPage(upto, commits)
