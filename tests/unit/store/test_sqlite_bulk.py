from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.store.sqlite_bulk import Source, insert, read_page, text_list

SOURCE = Source("things", number="id", extra="other")


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, other INTEGER, crc INTEGER, data BLOB)")
    yield connection
    connection.close()


@given(
    rows=st.lists(st.tuples(st.integers(-(2**62), 2**62), st.integers(0, 2**32), st.binary(max_size=40))),
    max_rows=st.integers(1, 20),
    max_bytes=st.integers(0, 100),
)
def test_pages_hold_what_was_inserted(
    db: sqlite3.Connection, rows: list[tuple[int, int, bytes]], max_rows: int, max_bytes: int
) -> None:
    db.execute("DELETE FROM things")
    insert(db, "INSERT INTO things", 4, [part for number, row in enumerate(rows) for part in (number, *row)])
    found: list[tuple[int, int, bytes]] = []
    while page := read_page(db, SOURCE, "id >= ?", (len(found),), max_rows=max_rows, max_bytes=max_bytes):
        assert [int(number) for number, *_ in page] == list(range(len(found), len(found) + len(page)))
        assert len(page) <= max_rows
        assert len(page) == 1 or sum(len(data) for *_, data in page) <= max_bytes
        found += [(extra, crc, data) for _, extra, crc, data in page]
    assert found == rows


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 255, 256, 257, 700])
def test_any_number_of_rows_is_inserted(db: sqlite3.Connection, count: int) -> None:
    db.execute("DELETE FROM things")
    insert(db, "INSERT INTO things", 4, [part for number in range(count) for part in (number, 0, 0, b"")])
    assert db.execute("SELECT count(*), max(id) FROM things").fetchone() == (count, count - 1 if count else None)


def test_what_follows_the_values_applies_to_each_row(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM things")
    update = "ON CONFLICT (id) DO UPDATE SET data = excluded.data"
    for data in (b"old", b"new"):
        insert(db, "INSERT INTO things", 4, [part for number in range(6) for part in (number, 0, 0, data)], update)
    assert db.execute("SELECT DISTINCT data FROM things").fetchall() == [(b"new",)]


def test_a_list_of_texts_is_a_set_for_the_engine(db: sqlite3.Connection) -> None:
    found = db.execute("SELECT 'b' IN (SELECT value FROM json_each(?))", (text_list({"a", "b"}),)).fetchone()
    assert found == (1,)
