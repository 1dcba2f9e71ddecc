"""What SQLite's errors mean to the callers of the store."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sira_grpc.errors import SiraError, StoreCorrupt, StoreUnavailable

_WHAT_TO_DO = "stop the kernel, keep a copy of the directory, and restore it from a backup"
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_TROUBLES = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_PERM: "access is denied",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_NOMEM: "memory has run out",
}


def corrupt(path: Path, finding: str) -> StoreCorrupt:
    """Returns the error for a store under path that is damaged: what was found, and what to do about it."""
    return StoreCorrupt(f"the store at {path} is damaged ({finding}): {_WHAT_TO_DO}", metadata={"path": str(path)})


def unavailable(path: Path, trouble: str) -> StoreUnavailable:
    """Returns the error for a store under path that cannot be used now."""
    metadata = {"path": str(path), "outcome": "none"}
    return StoreUnavailable(f"the store at {path} cannot be used: {trouble}", metadata=metadata)


def closed(path: Path) -> StoreUnavailable:
    """Returns the error for a store under path that has been closed."""
    return unavailable(path, "it is closed")


def translate(error: Exception, path: Path) -> SiraError:
    """Returns what an error that SQLite or the engine raised means, as the Store protocol has it."""
    if isinstance(error, SiraError):
        return error
    # Without a code it is not SQLite itself: Python could not decode a text, or what a row holds is not what it should.
    code = getattr(error, "sqlite_errorcode", None)
    if code is None and isinstance(error, (sqlite3.OperationalError, ValueError)):
        return corrupt(path, str(error))
    primary = (code or sqlite3.SQLITE_ERROR) & 0xFF
    if primary in _DAMAGED:
        return corrupt(path, str(error))
    return unavailable(path, f"{_TROUBLES.get(primary, 'the engine failed')} ({error})")
