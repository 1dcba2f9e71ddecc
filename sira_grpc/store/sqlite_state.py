"""The state: keys and values under one revision, with compare-and-set commits."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from sira_grpc.errors import RevisionAhead
from sira_grpc.store import sqlite_tombstones as tombstones
from sira_grpc.store.api import Commit, Entry, Op, Snapshot
from sira_grpc.store.sqlite_bulk import Source, read_page
from sira_grpc.store.sqlite_checksum import checksum
from sira_grpc.store.sqlite_errors import corrupt
from sira_grpc.store.sqlite_feed import Feed
from sira_grpc.store.sqlite_readers import Readers, one_moment
from sira_grpc.store.sqlite_state_area import CommitJob, CompactJob, StateArea, newest_revision
from sira_grpc.store.sqlite_writer import GroupWriter
from sira_grpc.store.validation import OP_OVERHEAD_BYTES, check_key, check_ops, check_prefix

PAGE_BYTES = 1 << 20
_SOURCE = Source("state", number="key", extra="revision")


class SqliteState:
    """Implements StateStore."""

    def __init__(self, path: Path, writer: GroupWriter, readers: Readers, area: StateArea, feed: Feed) -> None:
        self._path = path
        self._writer = writer
        self._readers = readers
        self._area = area
        self._feed = feed

    @property
    def revision(self) -> int:
        """See StateStore."""
        return self._feed.revision

    @property
    def compacted(self) -> int:
        """See StateStore."""
        return self._feed.compacted

    async def commit(self, ops: Sequence[Op]) -> int:
        """See StateStore."""
        size = check_ops(ops)
        return await self._writer.submit(CommitJob(self._area, size, tuple(ops)))

    async def get(self, key: str) -> Entry | None:
        """See StateStore."""
        check_key(key)
        entry = await self._readers.run(lambda db: _read_entry(db, self._path, key))
        if entry:
            self._feed.learn(entry.revision)
        return entry

    async def sync(self) -> int:
        """See StateStore: there is no other member."""
        self._readers.check_open()
        return self.revision

    async def snapshot(self, prefix: str) -> Snapshot:
        """See StateStore."""
        check_prefix(prefix)
        snapshot = await self._readers.run(lambda db: _read_snapshot(db, self._path, prefix))
        self._feed.learn(snapshot.revision)
        return snapshot

    def watch(self, prefix: str, *, after: int) -> AsyncGenerator[Commit, None]:
        """See StateStore."""
        return self._feed.watch(prefix, after=after)

    async def compact(self, revision: int) -> None:
        """See StateStore."""
        if revision > self.revision:
            raise RevisionAhead(
                f"revision {revision} is ahead of the store's {self.revision}",
                metadata={"revision": str(revision), "current": str(self.revision)},
            )
        if revision > self.compacted:
            await self._writer.submit(CompactJob(self._area, OP_OVERHEAD_BYTES, revision))


def _read_entry(db: sqlite3.Connection, path: Path, key: str) -> Entry | None:
    row = db.execute("SELECT revision, crc, data FROM state WHERE key = ?", (key,)).fetchone()
    return _entry(path, key, *row) if row else None


def _read_snapshot(db: sqlite3.Connection, path: Path, prefix: str) -> Snapshot:
    entries: list[Entry] = []
    last = prefix
    end = prefix[:-1] + "0" if prefix else "~"  # "0" follows "/", and no key begins with "~"
    with one_moment(db):
        revision = newest_revision(db)
        while page := read_page(db, _SOURCE, "key > ? AND key < ?", (last, end), max_rows=512, max_bytes=PAGE_BYTES):
            entries.extend(_entry(path, *row) for row in page)
            last = page[-1][0]
        deleted = tombstones.read(db, path, prefix, end)
    return Snapshot(revision, tuple(entries), tuple(deleted.items()))


def _entry(path: Path, key: str, revision: int, crc: int, data: bytes) -> Entry:
    if checksum(data, revision, key) != crc:
        raise corrupt(path, f"the entry {key}")
    return Entry(key, data, revision)
