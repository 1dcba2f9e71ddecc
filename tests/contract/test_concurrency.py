from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from sira_grpc.errors import Conflict, StoreUnavailable
from sira_grpc.store import ABSENT, Delete, LogRange, Put, Store
from tests.contract.engines import Engine


async def test_concurrent_increments_lose_none(store: Store) -> None:
    async def increment() -> int:
        attempts = 0
        while True:
            attempts += 1
            entry = await store.get("counter")
            count = int(entry.value) if entry else 0
            try:
                await store.commit([Put("counter", b"%d" % (count + 1), entry.revision if entry else ABSENT)])
            except Conflict:
                continue
            return attempts

    attempts = await asyncio.gather(*(increment() for _ in range(40)))
    entry = await store.get("counter")
    assert entry is not None
    assert entry.value == b"40"
    assert sum(attempts) > 40, "no two of them have ever met: this has tested nothing"


async def test_a_conflict_fails_its_own_commit_only(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(store.commit([Put(f"mine/{n}", b""), Put("first", b"%d" % n, ABSENT)]) for n in range(50)),
        *(store.commit([Put(f"other/{n}", b"")]) for n in range(50)),
        return_exceptions=True,
    )
    won = [n for n, outcome in enumerate(outcomes[:50]) if isinstance(outcome, int)]
    assert len(won) == 1
    assert [type(outcome) for outcome in outcomes[:50]].count(Conflict) == 49
    revisions = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert len(set(revisions)) == len(revisions) == 51
    assert [entry.key for entry in (await store.snapshot("mine/")).entries] == [f"mine/{won[0]}"]
    assert len((await store.snapshot("other/")).entries) == 50


async def test_every_watch_sees_concurrent_commits_in_one_order(store: Store) -> None:
    start = store.revision

    async def take(count: int) -> list[int]:
        feed = store.watch("", after=start)
        return [(await anext(feed)).revision for _ in range(count)]

    async with asyncio.TaskGroup() as group:
        watches = [group.create_task(take(100)) for _ in range(3)]
        commits = [group.create_task(store.commit([Put(f"key/{n}", b"")])) for n in range(100)]
    for watch in watches:
        assert watch.result() == sorted(commit.result() for commit in commits)


async def test_a_commit_is_readable_and_known_when_it_is_acknowledged(store: Store) -> None:
    async def write(number: int) -> None:
        key = f"key/{number}"
        for value in (b"1", b"2", b"3"):
            revision = await store.commit([Put(key, value)])
            assert store.revision >= revision
            entry = await store.get(key)
            assert entry is not None
            assert entry.value == value
        await store.commit([Delete(key)])
        assert await store.get(key) is None

    await asyncio.gather(*(write(number) for number in range(20)))


async def test_a_watch_may_follow_a_snapshot_at_once(store: Store) -> None:
    async def write(number: int) -> None:
        for value in range(20):
            await store.commit([Put(f"key/{number}", b"%d" % value)])

    async def follow() -> None:
        """Builds a view from a snapshot taken amid the writes, and the watch after it."""
        while True:
            snapshot = await store.snapshot("key/")
            view = {entry.key: (entry.revision, entry.value) for entry in snapshot.entries}
            feed = store.watch("key/", after=snapshot.revision)
            while len(view) < 10 or {value for _, value in view.values()} != {b"19"}:
                for change in (await anext(feed)).changes:
                    assert change.value is not None
                    if change.revision > view.get(change.key, (0, b""))[0]:
                        view[change.key] = (change.revision, change.value)
            return

    async with asyncio.timeout(60):
        await asyncio.gather(*(write(number) for number in range(10)), *(follow() for _ in range(10)))


async def test_concurrent_appends_are_numbered_without_gaps(store: Store) -> None:
    offsets = await asyncio.gather(*(store.append("log", [b"%d" % n, b"%d!" % n]) for n in range(100)))
    assert sorted(offsets) == list(range(0, 200, 2))
    frames = await store.read("log", 0, max_frames=1000, max_bytes=1 << 20)
    assert len(frames) == 200
    for n, offset in enumerate(offsets):
        assert [frame.data for frame in frames[offset : offset + 2]] == [b"%d" % n, b"%d!" % n]


async def test_a_slow_watch_gets_everything_and_costs_no_memory(store: Store) -> None:
    feed = store.watch("bulk/", after=0)
    await store.commit([Put("bulk/0", b"first")])
    assert (await anext(feed)).changes[0].value == b"first"
    tracemalloc.start()
    try:
        revisions = [await store.commit([Put("bulk/0", bytes([n]) * (512 << 10))]) for n in range(100)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 20 << 20, "50 MiB were written"
    for n, revision in enumerate(revisions):
        commit = await anext(feed)
        assert commit.revision == revision
        assert commit.changes[0].value == bytes([n]) * (512 << 10)


async def test_a_commit_whose_caller_is_gone_is_whole_or_not_at_all(store: Store) -> None:
    tasks = [asyncio.create_task(store.commit([Put(f"a/{n}", b""), Put(f"b/{n}", b"")])) for n in range(100)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
    # Commits are in order, so this one comes after whatever became of them.
    last = await store.commit([Put("last", b"")])
    assert last > max(outcome for outcome in outcomes if isinstance(outcome, int))
    names = [{entry.key[2:] for entry in (await store.snapshot(prefix)).entries} for prefix in ("a/", "b/")]
    assert names[0] == names[1] >= {str(n) for n in range(1, 100, 2)}


async def test_a_cancelled_watch_leaves_the_others_be(store: Store) -> None:
    first, second = store.watch("", after=0), store.watch("", after=0)
    waiting = asyncio.create_task(anext(first))
    other = asyncio.create_task(anext(second))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    revision = await store.commit([Put("a", b"")])
    assert (await other).revision == revision


async def test_closing_finishes_what_was_under_way(engine: Engine) -> None:
    store = await engine.open()
    watch = asyncio.create_task(anext(store.watch("nobody/", after=0)))
    tasks = [asyncio.create_task(store.commit([Put(f"key/{n}", b"")])) for n in range(100)]
    append = asyncio.create_task(store.append("log", [b"frame"]))
    await asyncio.sleep(0)
    again = await engine.reopen()
    assert [task.exception() for task in [*tasks, append]] == [None] * 101
    assert len((await again.snapshot("key/")).entries) == 100
    assert await again.range("log") == LogRange(0, 1)
    with pytest.raises(StoreUnavailable):
        await watch
    await engine.destroy()


async def test_a_closed_store_says_so(engine: Engine) -> None:
    store = await engine.open()
    digest = await store.put_blob(_nothing())
    await engine.destroy()
    await store.close()
    calls: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: store.commit([Put("a", b"")]),
        lambda: store.get("a"),
        store.sync,
        lambda: store.snapshot(""),
        lambda: anext(store.watch("", after=0)),
        lambda: store.append("log", [b""]),
        lambda: store.read("log", 0, max_frames=1, max_bytes=1),
        lambda: store.range("log"),
        lambda: store.offset_at("log", 0),
        lambda: store.trim("log", 1),
        lambda: store.delete_partition("log"),
        lambda: store.put_blob(_nothing()),
        lambda: anext(store.get_blob(digest)),
        lambda: store.has_blob(digest),
        lambda: store.delete_blob(digest),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="closed"):
            await call()


async def _nothing() -> AsyncIterator[bytes]:
    for chunk in list[bytes]():
        yield chunk
