from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from sira_grpc.store.sqlite_garbage import Garbage
from sira_grpc.store.sqlite_schema import open_database


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_database(tmp_path / "sira.db")
    connection.executemany("INSERT INTO history VALUES (?, 0, x'')", [(number,) for number in range(1, 101)])
    yield connection
    connection.close()


def held(db: sqlite3.Connection) -> list[int]:
    return [row[0] for row in db.execute("SELECT id FROM history ORDER BY id")]


def test_rows_go_a_few_at_a_time_and_no_others(db: sqlite3.Connection) -> None:
    garbage = Garbage()
    garbage.add(db, "history", 10, 40)
    garbage.add(db, "history", 90, 95)
    garbage.sweep(db, 20)
    assert held(db) == [*range(1, 10), *range(30, 101)]
    while garbage:
        garbage.sweep(db, 20)
    assert held(db) == [*range(1, 10), *range(40, 90), *range(95, 101)]
    assert db.execute("SELECT count(*) FROM garbage").fetchone() == (0,)


def test_garbage_is_still_known_after_a_restart(db: sqlite3.Connection) -> None:
    garbage = Garbage()
    garbage.add(db, "history", 0, 50)
    garbage.sweep(db, 10)
    again = Garbage()
    again.sweep(db, 1000)
    assert held(db) == list(range(50, 101))
    assert not again


def test_a_sweep_that_was_rolled_back_is_done_again(db: sqlite3.Connection) -> None:
    garbage = Garbage()
    garbage.add(db, "history", 0, 50)
    db.execute("BEGIN")
    garbage.add(db, "history", 60, 70)
    garbage.sweep(db, 1000)
    assert not garbage
    db.execute("ROLLBACK")
    garbage.forget()
    assert garbage
    garbage.sweep(db, 1000)
    assert held(db) == list(range(50, 101))


def test_a_range_that_is_not_what_was_written_deletes_nothing(db: sqlite3.Connection) -> None:
    Garbage().add(db, "history", 0, 50)
    db.execute("UPDATE garbage SET high = 90")
    with pytest.raises(ValueError, match="row 1 of the garbage"):
        Garbage().sweep(db, 1000)
    assert len(held(db)) == 100
