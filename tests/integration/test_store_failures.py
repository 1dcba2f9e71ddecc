from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sira_grpc.clock import SystemClock
from sira_grpc.errors import StoreUnavailable
from sira_grpc.store import open_sqlite
from tests.integration.store_on_full_disk import check_full_disk

ROOT = Path(__file__).parents[2]
NOBODY = 65534


async def use(directory: Path) -> None:
    """Opens and closes a store."""
    store = await open_sqlite(directory, clock=SystemClock())
    await store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(mount)]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"mounting is not permitted here: {made.stderr.decode().strip()}")
    yield mount
    # Lazily, so that a test which fails with a file open leaves no mount behind.
    subprocess.run(["umount", "-l", str(mount)], check=True)


def fill(filler: Path) -> None:
    """Makes a file that takes all the room there is."""
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


async def test_a_full_disk_fails_the_writes_and_nothing_else(small_disk: Path) -> None:
    filler = small_disk / "filler"
    await check_full_disk(small_disk / "store", lambda: fill(filler), filler.unlink)


def test_a_file_that_may_not_grow_fails_the_writes_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.integration.store_on_full_disk", str(tmp_path / "store")]
    subprocess.run(command, cwd=ROOT, check=True)


async def test_a_disk_too_full_to_open_says_so(small_disk: Path) -> None:
    await use(small_disk / "store")
    fill(small_disk / "filler")
    with pytest.raises(StoreUnavailable, match="cannot be used") as full:
        await use(small_disk / "store")
    assert full.value.metadata == {"path": str(small_disk / "store"), "outcome": "none"}
    (small_disk / "filler").unlink()
    await use(small_disk / "store")


# Opens a store elsewhere first, so that everything is imported before this user may no longer read it.
_OPEN_AS_NOBODY = f"""
import asyncio, os, sys
from pathlib import Path
from sira_grpc.errors import StoreUnavailable
from tests.integration.test_store_failures import use
asyncio.run(use(Path(sys.argv[1])))
if os.geteuid() == 0:
    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
try:
    asyncio.run(use(Path(sys.argv[2])))
except StoreUnavailable as error:
    print(error.message)
"""


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A directory that every user may enter and read, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def open_as_nobody(scratch: Path, directory: Path) -> str:
    """Returns what opening the store says to a user who owns nothing; nothing if it works."""
    command = [sys.executable, "-c", _OPEN_AS_NOBODY, str(scratch), str(directory)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


async def test_a_read_only_directory_says_so(tmp_path: Path, public_path: Path) -> None:
    directory = public_path / "store"
    await use(directory)
    for path in (*directory.iterdir(), directory):
        path.chmod(0o555)
    said = open_as_nobody(tmp_path / "scratch", directory)
    assert said == f"the store at {directory} cannot be used: the directory cannot be written (Permission denied)"
    directory.chmod(0o755)


def test_a_directory_that_cannot_be_made_says_so(tmp_path: Path, public_path: Path) -> None:
    public_path.chmod(0o555)
    directory = public_path / "store"
    said = open_as_nobody(tmp_path / "scratch", directory)
    assert said == f"the store at {directory} cannot be used: the directory cannot be written (Permission denied)"
    public_path.chmod(0o755)


async def test_a_read_only_file_says_so(tmp_path: Path, public_path: Path) -> None:
    directory = public_path / "store"
    await use(directory)
    directory.chmod(0o777)
    (directory / "sira.lock").chmod(0o666)
    (directory / "sira.db").chmod(0o444)
    said = open_as_nobody(tmp_path / "scratch", directory)
    assert said == f"the store at {directory} cannot be used: sira.db is read-only"


async def test_a_file_in_place_of_the_directory_says_so(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a directory")
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        await use(tmp_path / "store")


async def test_a_missing_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    await use(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_second_process_is_told_who_holds_the_store(tmp_path: Path) -> None:
    child_script = Path(__file__).with_name("store_writer_child.py")
    command = [sys.executable, str(child_script), str(tmp_path), "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert [child.stdout.readline() for _ in range(2)] == [b"opening\n", b"open\n"]
        with pytest.raises(StoreUnavailable, match=f"{tmp_path} is in use by process {child.pid}") as held:
            asyncio.run(use(tmp_path))
        assert held.value.metadata == {"path": str(tmp_path), "pid": str(child.pid)}
        child.kill()
        child.stdout.read()
    asyncio.run(use(tmp_path))


async def test_a_second_store_in_the_same_process_is_refused(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path, clock=SystemClock())
    with pytest.raises(StoreUnavailable, match=f"in use by process {os.getpid()}"):
        await use(tmp_path)
    assert await store.get("a") is None
    await store.close()
    await use(tmp_path)


async def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    await use(tmp_path)
    db = sqlite3.connect(tmp_path / "sira.db")
    db.execute("PRAGMA user_version=7")
    db.close()
    before = (tmp_path / "sira.db").read_bytes()
    with pytest.raises(StoreUnavailable, match="version 7, newer than this program's 1: upgrade Sira"):
        await use(tmp_path)
    assert (tmp_path / "sira.db").read_bytes() == before
