from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sira_grpc.clock import SystemClock
from sira_grpc.errors import StoreCorrupt
from sira_grpc.store import Delete, Frame, LogRange, Put, Store, open_sqlite, sqlite_check
from tests.integration.store_writer_child import WORKERS

FLIPS = 80
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Contents:
    """All that a reader can get out of the store of these tests."""

    entries: Any
    looked_up: Any
    history: Any
    frames: Any
    blob: bytes


async def write(directory: Path) -> str:
    """Fills a store with something of each kind, in pages all over the file; returns the blob's digest."""
    rng = random.Random(1)
    store = await open_sqlite(directory, clock=SystemClock())
    for batch in range(10):
        await store.commit([Put(f"key/{batch}/{n}", rng.randbytes(200)) for n in range(30)])
        await store.append(f"log-{batch % 2}", [rng.randbytes(300) for _ in range(20)])
    for batch in range(10):
        await store.commit([Delete(f"key/{batch}/{n}") for n in range(20, 30)])
    await store.trim("log-0", 30)
    digest = await store.put_blob(_bytes(rng.randbytes(200_000)))
    await store.close()
    return digest


async def _bytes(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def read(store: Store, digest: str) -> Contents:
    snapshot = await store.snapshot("")
    looked_up = [await store.get(f"key/{batch}/{n}") for batch in range(10) for n in range(30)]
    feed = store.watch("", after=store.compacted)
    history = [await anext(feed) for _ in range(store.revision - store.compacted)]
    await feed.aclose()
    frames: list[tuple[str, Frame | LogRange]] = []
    for name in ("log-0", "log-1"):
        held = await store.range(name)
        offset = held.first
        frames.append((name, held))
        while found := await store.read(name, offset, max_frames=100, max_bytes=1 << 20):
            frames += [(name, frame) for frame in found]
            offset = found[-1].offset + 1
    try:
        blob = b"".join([chunk async for chunk in store.get_blob(digest)])
    except KeyError:
        blob = b"lost"
    return Contents(snapshot, looked_up, history, frames, blob)


async def read_in(directory: Path, digest: str) -> Contents:
    store = await open_sqlite(directory, clock=SystemClock())
    try:
        return await read(store, digest)
    finally:
        await store.close()


async def test_a_damaged_header_is_found_at_open(tmp_path: Path) -> None:
    await write(tmp_path)
    with (tmp_path / "sira.db").open("r+b") as file:
        file.write(b"not a database!!")
    with pytest.raises(StoreCorrupt, match="restore it from a backup") as damaged:
        await open_sqlite(tmp_path, clock=SystemClock())
    assert damaged.value.metadata == {"path": str(tmp_path)}


@pytest.mark.parametrize("checked_at_open", [True, False])
async def test_damage_anywhere_is_found_or_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checked_at_open: bool
) -> None:
    """Without the check at open, it is the checks of what is read that must find it."""
    digest = await write(tmp_path / "good")
    good = await read_in(tmp_path / "good", digest)
    if not checked_at_open:
        monkeypatch.setattr(sqlite_check, "FULL_CHECK_BYTES", 0)
    rng = random.Random(2)
    found = 0
    for _ in range(FLIPS):
        shutil.copytree(tmp_path / "good", tmp_path / "bad")
        _flip(tmp_path / "bad" / "sira.db", rng)
        try:
            assert await read_in(tmp_path / "bad", digest) == good
        except StoreCorrupt:
            found += 1
        shutil.rmtree(tmp_path / "bad")
    assert found > FLIPS // 2, "most of the file is in use"


def _flip(path: Path, rng: random.Random) -> None:
    """Overwrites 1 to 16 bytes anywhere but in the page of the header's version numbers."""
    content = bytearray(path.read_bytes())
    length = rng.randint(1, 16)
    start = rng.randrange(100, len(content) - length)
    content[start : start + length] = bytes(byte ^ rng.randint(1, 255) for byte in content[start : start + length])
    path.write_bytes(content)


def leave_a_write_ahead_log(directory: Path) -> tuple[bytes, int]:
    """Has a child write until it is killed; returns the log it leaves, and how many commits were acknowledged."""
    child_script = ROOT / "tests" / "integration" / "store_writer_child.py"
    command = [sys.executable, str(child_script), str(directory), "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(300)]
        child.kill()
        lines += child.stdout.readlines()
    return (directory / "sira.db-wal").read_bytes(), sum(line.startswith(b"s") for line in lines)


@pytest.mark.parametrize("place", ["header", "first frame", "middle"])
async def test_a_damaged_write_ahead_log_is_no_silent_loss(tmp_path: Path, place: str) -> None:
    log, acknowledged = leave_a_write_ahead_log(tmp_path)
    assert acknowledged > WORKERS
    at = {"header": 17, "first frame": 32 + 24 + 100, "middle": len(log) // 2}[place]
    damaged = bytearray(log)
    damaged[at] ^= 0xFF
    (tmp_path / "sira.db-wal").write_bytes(damaged)
    with pytest.raises(StoreCorrupt, match=r"write-ahead log holds \d+ commits behind unreadable bytes"):
        await open_sqlite(tmp_path, clock=SystemClock())
    # Nothing was thrown away: with the log as it was, everything is there.
    (tmp_path / "sira.db-wal").write_bytes(log)
    store = await open_sqlite(tmp_path, clock=SystemClock())
    assert store.revision >= acknowledged
    await store.close()


async def test_a_torn_end_of_the_write_ahead_log_is_no_damage(tmp_path: Path) -> None:
    log, _ = leave_a_write_ahead_log(tmp_path)
    (tmp_path / "sira.db-wal").write_bytes(log[:-2000])
    store = await open_sqlite(tmp_path, clock=SystemClock())
    await store.commit([Put("a", b"")])
    await store.close()


@pytest.mark.parametrize("emptied", [True, False])
async def test_a_write_ahead_log_without_its_file_is_not_thrown_away(tmp_path: Path, emptied: bool) -> None:
    log, _ = leave_a_write_ahead_log(tmp_path)
    (tmp_path / "sira.db").unlink()
    if emptied:
        (tmp_path / "sira.db").touch()
    with pytest.raises(StoreCorrupt, match=r"sira\.db is missing or empty"):
        await open_sqlite(tmp_path, clock=SystemClock())
    assert (tmp_path / "sira.db-wal").read_bytes() == log


async def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "sira.db")
    db.execute("CREATE TABLE theirs (a)")
    db.close()
    with pytest.raises(StoreCorrupt, match="not a Sira store"):
        await open_sqlite(tmp_path, clock=SystemClock())
    db = sqlite3.connect(tmp_path / "sira.db")
    db.execute("PRAGMA user_version=1")
    db.close()
    with pytest.raises(StoreCorrupt, match="not a Sira store"):
        await open_sqlite(tmp_path, clock=SystemClock())
