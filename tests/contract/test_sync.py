from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sira_grpc.clock import SystemClock
from sira_grpc.errors import StoreUnavailable
from sira_grpc.nats_servers import NatsCluster
from sira_grpc.store import Delete, Put, Store
from sira_grpc.store.nats import open_nats
from sira_grpc.store.nats_options import NatsOptions
from tests.contract.engines import Engine, NatsEngine

PATIENCE = 60


@pytest.fixture
async def other(engine: Engine, store: Store) -> Store:
    """The store as another member has it."""
    if not isinstance(engine, NatsEngine):
        pytest.skip("the embedded engine has one member")
    return await engine.open()


async def test_a_sync_tells_the_revision_and_changes_nothing(store: Store) -> None:
    assert await store.sync() == store.revision == 0
    revision = await store.commit([Put("a", b"1")])
    for _ in range(3):
        assert await store.sync() == store.revision == revision
    await store.compact(revision)
    assert await store.sync() == store.revision == revision
    assert [(entry.key, entry.revision) for entry in (await store.snapshot("")).entries] == [("a", revision)]


async def test_a_sync_knows_what_another_member_has_committed(store: Store, other: Store) -> None:
    feed, keys = other.watch("", after=0), list[str]()
    async with asyncio.timeout(PATIENCE):
        for number in range(50):
            key = f"key/{number}"
            revision = await store.commit([Put(key, b"1")])
            assert await other.sync() == other.revision == revision
            entry = await other.get(key)
            assert entry is not None
            assert entry.value == b"1"
            keys.append(key)
            assert {entry.key for entry in (await other.snapshot("key/")).entries} == set(keys)
            commit = await anext(feed)
            assert (commit.revision, [change.key for change in commit.changes]) == (revision, [key])
        revision = await store.commit([Delete("key/0")])
        assert await other.sync() == revision
        assert await other.get("key/0") is None


async def test_syncs_amid_writes_know_all_that_was_acknowledged(store: Store, other: Store) -> None:
    acknowledged = 0

    async def write(number: int) -> None:
        nonlocal acknowledged
        for value in range(20):
            revision = await store.commit([Put(f"key/{number}", b"%d" % value)])
            acknowledged = max(acknowledged, revision)

    async def look() -> None:
        while not all(writer.done() for writer in writers):
            before = acknowledged
            assert await other.sync() >= before
            assert other.revision >= before

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        writers = [group.create_task(write(number)) for number in range(5)]
        for _ in range(5):
            group.create_task(look())
    assert await other.sync() == acknowledged == store.revision


async def test_a_sync_whose_caller_is_gone_leaves_the_others_be(store: Store) -> None:
    revision = await store.commit([Put("a", b"1")])
    syncs = [asyncio.create_task(store.sync()) for _ in range(100)]
    await asyncio.sleep(0)
    for sync in syncs[::2]:
        sync.cancel()
    outcomes = await asyncio.gather(*syncs, return_exceptions=True)
    assert outcomes[1::2] == [revision] * 50


async def test_a_store_that_does_not_answer_is_no_answer(tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE), NatsCluster(tmp_path, 1) as cluster:
        options = NatsOptions(url=cluster.url, replicas=1, write_timeout=1)
        store = await open_nats(options, clock=SystemClock())
        try:
            revision = await store.commit([Put("a", b"1")])
            (server,) = cluster.servers
            server.pause()
            assert [type(outcome) for outcome in await _syncs(store, 10)] == [StoreUnavailable] * 10
            assert not store.writable
            assert [type(outcome) for outcome in await _syncs(store, 10)] == [StoreUnavailable] * 10
            server.resume()
            while (await _syncs(store, 1)) != [revision]:
                pass  # it looks from time to time whether the server is back
        finally:
            await store.close()


async def _syncs(store: Store, count: int) -> list[int | BaseException]:
    return await asyncio.gather(*(store.sync() for _ in range(count)), return_exceptions=True)
