from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sira_grpc.store.sqlite_wal import lost_commits

COMMITS = 5


@pytest.fixture(params=[512, 4096, 65536])
def crashed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A database as a crash leaves it, with a log of several commits: without an index, and never opened since."""
    live, left = tmp_path / "live.db", tmp_path / "left.db"
    with closing(sqlite3.connect(live, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size={request.param}")
        db.execute("PRAGMA journal_mode=WAL")
        for number in range(COMMITS):
            db.execute(f"CREATE TABLE t{number} (a)")
        for suffix in ("", "-wal"):
            shutil.copy(f"{live}{suffix}", f"{left}{suffix}")
        yield left


def recover(database: Path) -> int:
    """Opens the database as its next user does; returns what that user then finds lost."""
    with closing(sqlite3.connect(database)) as db:
        db.execute("PRAGMA user_version").fetchone()
        return lost_commits(database)


def damage(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def wal(database: Path) -> Path:
    return database.with_name(database.name + "-wal")


def test_a_whole_log_has_lost_nothing(crashed: Path) -> None:
    assert recover(crashed) == 0


def test_a_damaged_header_loses_every_commit(crashed: Path) -> None:
    damage(wal(crashed), 12)
    assert recover(crashed) == COMMITS


def test_a_damaged_first_frame_loses_every_commit(crashed: Path) -> None:
    damage(wal(crashed), 100)
    assert recover(crashed) == COMMITS


def test_a_damaged_last_frame_is_what_a_power_cut_leaves(crashed: Path) -> None:
    damage(wal(crashed), -1)
    assert recover(crashed) == 0


def test_without_an_index_nothing_was_recovered(crashed: Path) -> None:
    assert lost_commits(crashed) == COMMITS


def test_frames_of_a_log_that_began_anew_are_not_missed(crashed: Path) -> None:
    with closing(sqlite3.connect(crashed, isolation_level=None)) as db:
        db.execute("PRAGMA wal_checkpoint(RESTART)")
        db.execute("CREATE TABLE anew (a)")
        crashed_again = crashed.with_name("again.db")
        for suffix in ("", "-wal"):
            shutil.copy(f"{crashed}{suffix}", f"{crashed_again}{suffix}")
    assert recover(crashed_again) == 0


def test_an_empty_log_has_lost_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.db-wal").touch()
    assert lost_commits(tmp_path / "a.db") == 0
