from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from sira_grpc.clock import SystemClock
from sira_grpc.errors import RevisionCompacted, StoreCorrupt, StoreUnavailable
from sira_grpc.store import BLOB_CHUNK_BYTES, Put, Store, open_sqlite

CONTENT = bytes(range(256)) * 1024  # two chunks


class SetClock(SystemClock):
    """A wall clock that stands where it is set."""

    def __init__(self) -> None:
        self.now = 1000

    def time_ns(self) -> int:
        return self.now


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def store(tmp_path: Path, clock: SetClock) -> AsyncIterator[Store]:
    opened = await open_sqlite(tmp_path, clock=clock, history_limit=20)
    yield opened
    await opened.close()


def change(directory: Path, statement: str) -> None:
    """Changes the file behind the store's back, as damage would."""
    with closing(sqlite3.connect(directory / "sira.db", isolation_level=None)) as db:
        assert db.execute(statement).rowcount == 1


def count(directory: Path, table: str) -> int:
    with closing(sqlite3.connect(directory / "sira.db")) as db:
        number: int = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return number


async def until(holds: Callable[[], bool], work: Callable[[], Awaitable[object]]) -> None:
    """Goes on reading until what the writer does on its own is done."""
    async with asyncio.timeout(60):
        while not holds():
            await work()


async def content() -> AsyncIterator[bytes]:
    yield CONTENT


async def test_a_history_without_commits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="history_limit is 0"):
        await open_sqlite(tmp_path, clock=SystemClock(), history_limit=0)


async def test_the_history_is_bounded(store: Store, tmp_path: Path) -> None:
    for number in range(100):
        await store.commit([Put("a", b"%d" % number)])
    assert 100 - 20 - 1 <= store.compacted <= 100 - 20
    feed = store.watch("", after=store.compacted)
    values = [(await anext(feed)).changes[0].value for _ in range(100 - store.compacted)]
    assert values == [b"%d" % number for number in range(store.compacted, 100)]
    with pytest.raises(RevisionCompacted, match="compacted up to") as error:
        await anext(store.watch("", after=store.compacted - 1))
    assert error.value.metadata == {"revision": str(store.compacted - 1), "compacted": str(store.compacted)}
    # The rows go too, when there is nothing else to do.
    await until(lambda: count(tmp_path, "history") <= 22, lambda: store.get("a"))


async def test_compacting_everything_keeps_the_revision(store: Store, tmp_path: Path) -> None:
    for _ in range(5):
        await store.commit([Put("a", b"")])
    await store.compact(5)
    await until(lambda: count(tmp_path, "history") == 1, lambda: store.get("a"))
    assert (store.revision, store.compacted) == (5, 5)
    await store.close()
    again = await open_sqlite(tmp_path, clock=SystemClock())
    assert (again.revision, again.compacted) == (5, 5)
    assert await again.commit([Put("a", b"")]) == 6
    assert (await anext(again.watch("", after=5))).revision == 6
    await again.close()


async def test_a_watch_that_the_compaction_overtakes_is_told(store: Store) -> None:
    feed = store.watch("", after=0)
    for _ in range(3):
        await store.commit([Put("a", b"")])
    assert (await anext(feed)).revision == 1
    await asyncio.gather(*(store.commit([Put("a", b"%d" % number)]) for number in range(100)))
    with pytest.raises(RevisionCompacted):
        _ = [commit async for commit in feed]


async def test_frame_times_do_not_follow_a_clock_that_goes_back(store: Store, tmp_path: Path, clock: SetClock) -> None:
    for clock.now in (1000, 900, 1100, 1050):
        await store.append("log", [b"", b""])
    frames = await store.read("log", 0, max_frames=10, max_bytes=10)
    assert [frame.time_ns for frame in frames[::2]] == [1000, 1000, 1100, 1100]
    assert [await store.offset_at("log", time) for time in (0, 1000, 1001, 1100, 1101)] == [0, 0, 4, 4, 8]
    await store.close()
    clock.now = 500
    again = await open_sqlite(tmp_path, clock=clock)
    await again.append("log", [b""])
    (last,) = await again.read("log", 8, max_frames=1, max_bytes=1)
    assert last.time_ns == 1100
    await again.close()


async def test_a_partition_that_was_deleted_begins_again_beside_its_remains(store: Store) -> None:
    await store.append("log", [b"old"] * 500)
    await store.delete_partition("log")
    assert await store.append("log", [b"new"]) == 0
    assert [frame.data for frame in await store.read("log", 0, max_frames=9, max_bytes=99)] == [b"new"]


async def test_trimmed_frames_and_deleted_blobs_leave_the_file(store: Store, tmp_path: Path) -> None:
    await store.append("log", [b"frame"] * 300)
    digest = await store.put_blob(content())
    await store.trim("log", 299)
    await store.delete_blob(digest)
    await until(lambda: (count(tmp_path, "log_frame"), count(tmp_path, "blob_chunk")) == (1, 0), lambda: store.get("a"))


async def test_a_blob_half_stored_when_the_process_ended_is_forgotten(store: Store, tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(BLOB_CHUNK_BYTES)

    task = asyncio.create_task(store.put_blob(endless()))
    await until(lambda: count(tmp_path, "blob_chunk") > 2, lambda: store.get("a"))
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await task
    assert count(tmp_path, "blob") == 1
    again = await open_sqlite(tmp_path, clock=SystemClock())
    assert count(tmp_path, "blob") == 0
    await until(lambda: count(tmp_path, "blob_chunk") == 0, lambda: again.get("a"))
    await again.close()


async def test_a_blob_that_is_deleted_while_it_is_read_is_gone(store: Store) -> None:
    digest = await store.put_blob(content())
    chunks = store.get_blob(digest)
    assert await anext(chunks) == CONTENT[:BLOB_CHUNK_BYTES]
    await store.delete_blob(digest)
    with pytest.raises(KeyError):
        await anext(chunks)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE blob_chunk SET data = x'00' WHERE id & 1", "chunk 1 of the blob"),
        ("DELETE FROM blob_chunk WHERE id & 1", "chunk 1 of the blob"),
        ("UPDATE blob SET chunks = 1", "the blob"),
    ],
)
async def test_a_damaged_blob_is_never_whole(store: Store, tmp_path: Path, damage: str, found: str) -> None:
    digest = await store.put_blob(content())
    assert digest == hashlib.sha256(CONTENT).hexdigest()
    change(tmp_path, damage)
    with pytest.raises(StoreCorrupt, match=found):
        _ = [chunk async for chunk in store.get_blob(digest)]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE log_frame SET data = x'00' WHERE id & 3 = 2", "offset 2 of the log a"),
        ("UPDATE log_frame SET time_ns = 1 WHERE id & 3 = 2", "offset 2 of the log a"),
        ("DELETE FROM log_frame WHERE id & 3 = 2", "offset 2 of the log a"),
        ("UPDATE log_partition SET first = 1", "the log a"),
    ],
)
async def test_a_damaged_log_is_never_read_over(store: Store, tmp_path: Path, damage: str, found: str) -> None:
    await store.append("a", [b"frame"] * 4)
    change(tmp_path, damage)
    with pytest.raises(StoreCorrupt, match=found):
        await store.read("a", 0, max_frames=10, max_bytes=100)


async def test_a_log_that_has_lost_what_is_asked_for_says_so(store: Store, tmp_path: Path, clock: SetClock) -> None:
    for clock.now in range(4):
        await store.append("a", [b"frame"])
    await store.trim("a", 1)
    await until(lambda: count(tmp_path, "log_frame") == 3, lambda: store.get("a"))
    change(tmp_path, "DELETE FROM log_frame WHERE id & 3 = 2")
    with pytest.raises(StoreCorrupt, match="offset 2 of the log a"):
        await store.offset_at("a", 2)
    with pytest.raises(StoreCorrupt, match="offset 2 of the log a"):
        await store.read("a", 2, max_frames=1, max_bytes=100)
    change(tmp_path, "DELETE FROM log_frame WHERE id & 3 = 3")
    with pytest.raises(StoreCorrupt, match="offset 2 of the log a"):
        await store.read("a", 2, max_frames=1, max_bytes=100)


@pytest.mark.parametrize("damage", ["UPDATE state SET data = x'00'", "UPDATE state SET revision = 7"])
async def test_a_damaged_entry_is_never_served(store: Store, tmp_path: Path, damage: str) -> None:
    await store.commit([Put("a", b"value")])
    change(tmp_path, damage)
    with pytest.raises(StoreCorrupt, match="the entry a"):
        await store.get("a")
    with pytest.raises(StoreCorrupt, match="the entry a"):
        await store.snapshot("")


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE history SET data = x'00' WHERE id = 2", "the history at revision 2"),
        ("DELETE FROM history WHERE id = 2", "the history at revision 2"),
    ],
)
async def test_a_damaged_history_is_never_passed_over(tmp_path: Path, damage: str, found: str) -> None:
    store = await open_sqlite(tmp_path, clock=SystemClock(), ring_bytes=0)
    for _ in range(3):
        await store.commit([Put("a", b"")])
    change(tmp_path, damage)
    feed = store.watch("", after=0)
    with pytest.raises(StoreCorrupt, match=found):
        await anext(feed)
    await store.close()


async def test_a_history_that_has_lost_its_end_is_never_passed_over(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path, clock=SystemClock(), ring_bytes=0)
    for _ in range(2):
        await store.commit([Put("a", b"")])
    change(tmp_path, "DELETE FROM history WHERE id = 2")
    with pytest.raises(StoreCorrupt, match="the history after revision 1 is missing"):
        await anext(store.watch("", after=1))
    await store.close()


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE history SET data = x'00' WHERE id = 2", "the history at revision 2"),
        ("UPDATE meta SET value = 3", "cannot be compacted up to 3"),
        ("DELETE FROM meta", "cannot be compacted"),
        ("INSERT INTO garbage (kind, low, high, crc) VALUES ('history', 0, 9, 0)", "row 1 of the garbage"),
    ],
)
async def test_damage_to_what_is_needed_at_once_is_found_at_open(tmp_path: Path, damage: str, found: str) -> None:
    store = await open_sqlite(tmp_path, clock=SystemClock())
    for _ in range(2):
        await store.commit([Put("a", b"")])
    await store.close()
    change(tmp_path, damage)
    with pytest.raises(StoreCorrupt, match=found):
        await open_sqlite(tmp_path, clock=SystemClock())
