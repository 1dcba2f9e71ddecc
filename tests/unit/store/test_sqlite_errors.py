from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from sira_grpc.errors import Conflict, SiraError, StoreCorrupt, StoreUnavailable
from sira_grpc.store.sqlite_errors import translate

PATH = Path("/data")


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("what it says")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (sqlite_error(sqlite3.SQLITE_FULL), StoreUnavailable, "the disk is full (what it says)"),
        (sqlite_error(sqlite3.SQLITE_IOERR_WRITE), StoreUnavailable, "the disk cannot be read or written"),
        (sqlite_error(sqlite3.SQLITE_READONLY_DBMOVED), StoreUnavailable, "it is read-only"),
        (sqlite_error(sqlite3.SQLITE_BUSY), StoreUnavailable, "the engine failed (what it says)"),
        (sqlite_error(sqlite3.SQLITE_CORRUPT_VTAB), StoreCorrupt, "restore it from a backup"),
        (sqlite_error(sqlite3.SQLITE_NOTADB), StoreCorrupt, "/data is damaged (what it says)"),
        (sqlite3.OperationalError("Could not decode to UTF-8"), StoreCorrupt, "Could not decode"),
        (ValueError("the log a"), StoreCorrupt, "the log a"),
        (RuntimeError("a bug"), StoreUnavailable, "the engine failed (a bug)"),
    ],
)
def test_an_error_says_what_it_means(error: Exception, kind: type[SiraError], text: str) -> None:
    said = translate(error, PATH)
    assert type(said) is kind
    assert text in said.message
    assert said.metadata["path"] == "/data"


def test_an_error_of_ours_stays_as_it_is() -> None:
    error = Conflict("met")
    assert translate(error, PATH) is error
