"""The embedded engine: a Store in one SQLite file, for one process."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sira_grpc.clock import Clock
from sira_grpc.store.composed import ComposedStore
from sira_grpc.store.sqlite_blob_area import BlobArea
from sira_grpc.store.sqlite_blobs import SqliteBlobs
from sira_grpc.store.sqlite_directory import DataDirectory
from sira_grpc.store.sqlite_errors import translate
from sira_grpc.store.sqlite_feed import Feed
from sira_grpc.store.sqlite_garbage import Garbage
from sira_grpc.store.sqlite_log import SqliteLog
from sira_grpc.store.sqlite_log_area import LogArea
from sira_grpc.store.sqlite_readers import READERS, Readers
from sira_grpc.store.sqlite_schema import connect, open_database
from sira_grpc.store.sqlite_state import SqliteState
from sira_grpc.store.sqlite_state_area import StateArea, newest_revision
from sira_grpc.store.sqlite_writer import GroupWriter

HISTORY_LIMIT = 100_000
RING_BYTES = 8 << 20


async def open_sqlite(
    path: Path, *, clock: Clock, history_limit: int = HISTORY_LIMIT, ring_bytes: int = RING_BYTES
) -> SqliteStore:
    """Opens the store in a data directory, which is created if it is missing.

    Args:
        path: the directory; it belongs to one store at a time.
        clock: dates the log frames. It is asked in the writer's thread.
        history_limit: commits that stay watchable at least; older ones are compacted away in the background.
        ring_bytes: how much of the newest history is kept in memory, so that a watch which keeps up reads no disk.

    Raises:
        StoreUnavailable: the directory cannot be written, is held by another process or store (metadata `pid`), or was
            written by a newer version.
        StoreCorrupt: the file is damaged.
    """
    if history_limit < 1:
        raise ValueError(f"history_limit is {history_limit}: must be at least 1")
    opened = await asyncio.to_thread(_open, path)
    return SqliteStore(opened, clock, history_limit, ring_bytes)


@dataclass(frozen=True, slots=True)
class _Opened:
    directory: DataDirectory
    db: sqlite3.Connection
    readers: Sequence[sqlite3.Connection]
    garbage: Garbage
    blobs: BlobArea
    revision: int
    compacted: int


def _open(path: Path) -> _Opened:
    directory = DataDirectory.acquire(path)
    connections: list[sqlite3.Connection] = []
    try:
        db = open_database(directory.database)
        connections.append(db)
        revision = newest_revision(db)
        compacted: int = db.execute("SELECT value FROM meta WHERE name = 'compacted'").fetchone()[0]
        garbage = Garbage()
        garbage.load(db)
        blobs = BlobArea(garbage)
        db.execute("BEGIN IMMEDIATE")
        blobs.discard_unfinished(db)
        db.execute("COMMIT")
        for _ in range(READERS):
            connections.append(connect(directory.database))
            connections[-1].execute("PRAGMA query_only=ON")
    except BaseException as error:
        for connection in connections:
            connection.close()
        directory.release()
        if isinstance(error, (sqlite3.Error, ValueError)):
            raise translate(error, directory.path) from error
        raise
    return _Opened(directory, db, connections[1:], garbage, blobs, revision, compacted)


class SqliteStore(ComposedStore):
    """Implements Store; made by open_sqlite, in the event loop that is to use it."""

    engine = "sqlite"
    shared = False
    available = True

    def __init__(self, opened: _Opened, clock: Clock, history_limit: int, ring_bytes: int) -> None:
        path = opened.directory.path
        self._directory = opened.directory
        self._readers = Readers(path, opened.readers)
        self._writer = GroupWriter(opened.db, path, opened.garbage)
        self._feed = Feed(
            path, self._readers, revision=opened.revision, compacted=opened.compacted, ring_bytes=ring_bytes
        )
        state = StateArea(self._feed, opened.garbage, history_limit=history_limit)
        super().__init__(
            SqliteState(path, self._writer, self._readers, state, self._feed),
            SqliteLog(path, self._writer, self._readers, LogArea(clock, opened.garbage)),
            SqliteBlobs(path, self._writer, self._readers, opened.blobs),
        )

    @property
    def writable(self) -> bool:
        """See Store."""
        return self._writer.writable

    async def close(self) -> None:
        """See Store."""
        await self._readers.close()
        # The writer's connection is the last, so that closing it folds the write-ahead log into the file.
        await self._writer.close()
        self._feed.close()
        self._directory.release()
