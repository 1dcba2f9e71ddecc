"""The embedded store's file: its tables, its version and its connections."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from sira_grpc.store.sqlite_check import check_file
from sira_grpc.store.sqlite_errors import corrupt, unavailable
from sira_grpc.store.sqlite_wal import lost_commits

SCHEMA_VERSION = 1
APPLICATION_ID = 0x53697261
"""Spells "Sira" in the file's header."""

# Rows carry a CRC-32 over what they say and what names them, because SQLite checks none of its pages. Entries lie in
# the order in which they first came, and only an index has them by key: a batch of changes all over the key space then
# dirties few pages (measured: 2 to 3 times the throughput of a table clustered by key).
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE state (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, revision INTEGER NOT NULL, crc INTEGER NOT NULL,
    data BLOB NOT NULL) STRICT;
CREATE TABLE tombstone (id INTEGER PRIMARY KEY, key TEXT NOT NULL, crc INTEGER NOT NULL) STRICT;
CREATE TABLE history (id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
CREATE TABLE log_partition (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    first INTEGER NOT NULL, next INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT;
CREATE TABLE log_frame (
    id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
CREATE TABLE blob (id INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT UNIQUE, chunks INTEGER NOT NULL) STRICT;
CREATE TABLE blob_chunk (id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
CREATE TABLE garbage (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL,
    crc INTEGER NOT NULL) STRICT;
INSERT INTO meta VALUES ('compacted', 0);
"""


def open_database(database: Path) -> sqlite3.Connection:
    """Opens the file for writing, creates its tables if it is new, and checks it.

    Raises:
        StoreCorrupt: the file is damaged, or its write-ahead log holds commits that can no longer be read.
        StoreUnavailable: the file is read-only, or was written by a newer version.
        sqlite3.Error: whatever else SQLite finds.
    """
    wal = database.with_name(database.name + "-wal")
    if wal.exists() and wal.stat().st_size and not (database.exists() and database.stat().st_size):
        # SQLite would delete the log and begin afresh.
        raise corrupt(database.parent, f"{database.name} is missing or empty, but {wal.name} is there")
    db = connect(database)
    try:
        if not os.access(database, os.W_OK):
            # SQLite would open it for reading, and say so at the first write only.
            raise unavailable(database.parent, f"{database.name} is read-only")
        _prepare(db, database)
    except BaseException:
        db.close()
        raise
    return db


def connect(database: Path) -> sqlite3.Connection:
    """Opens a connection that may move between threads, with transactions begun and ended by hand."""
    db = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA cell_size_check=ON")
        db.execute("PRAGMA cache_size=-8192")
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, database: Path) -> None:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise unavailable(
            database.parent,
            f"its schema is version {version}, newer than this program's {SCHEMA_VERSION}: upgrade Sira",
        )
    # The shared index has been rebuilt by the first read above, and nothing has been written yet.
    if lost := lost_commits(database):
        raise corrupt(database.parent, f"its write-ahead log holds {lost} commits behind unreadable bytes")
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    # Under constant load the log is folded into the file every 16 MiB, beside the writer: see Checkpoints. When idle,
    # and at the end, by the writer. SQLite's own way, in the middle of a commit, is for when that does not keep up.
    db.execute("PRAGMA wal_autocheckpoint=32768")
    db.execute("PRAGMA journal_size_limit=33554432")
    if version == 0:
        _create(db, database)
    elif db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise corrupt(database.parent, f"{database.name} is not a Sira store")
    check_file(db, database)


def _create(db: sqlite3.Connection, database: Path) -> None:
    if db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise corrupt(database.parent, f"{database.name} is not a Sira store")
    db.executescript(
        f"BEGIN; {_SCHEMA} PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
    )
