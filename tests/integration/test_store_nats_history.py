from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sira_grpc.errors import Conflict, RevisionCompacted, StoreCorrupt
from sira_grpc.nats_servers import NatsCluster
from sira_grpc.store import ABSENT, Check, Delete, Put
from sira_grpc.store.nats import NatsStore
from sira_grpc.store.nats_following import Overtaken
from tests.integration.nats_worlds import opened


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    async with NatsCluster(tmp_path, 1) as servers:
        yield servers


async def _messages(store: NatsStore) -> int:
    info = await store._streams.info("sira_state")
    assert info is not None
    return int(info["state"]["messages"])


async def _until(condition: Callable[[], bool], store: NatsStore) -> None:
    """Returns when a condition holds; it is looked at after each commit."""
    async with asyncio.timeout(60):
        while not condition():
            await store.commit([Put("tick", b"")])


async def test_keys_that_come_and_go_leave_nothing_behind(server: NatsCluster) -> None:
    async with opened(server, history_limit=50) as store:
        stays = await store.commit([Put("stays", b"1")])
        for n in range(300):
            await store.commit([Put(f"churn/{n}", b"x"), Check("stays", stays)])
            await store.commit([Delete(f"churn/{n}")])
        await _until(lambda: store._mirror.mark.purged > 600, store)
        assert await _messages(store) < 300
        entry = await store.get("stays")
        assert entry is not None
        assert entry.revision == stays
        # What was removed is known to be gone, also where nobody has told.
        await store.commit([Put("churn/0", b"again", ABSENT)])
    async with opened(server) as store:
        assert [entry.key for entry in (await store.snapshot("")).entries][:2] == ["churn/0", "stays"]


async def test_a_member_that_a_compaction_has_overtaken_loads_everything_anew(server: NatsCluster) -> None:
    async with opened(server) as one, opened(server) as other:
        await one.commit([Put("a", b"1"), Put("b", b"1")])
        start = await one.commit([Put("c", b"1")])
        await other._mirror.reached(start, 10)
        watch = other.watch("", after=start)
        tail = next(task for task in other._tasks if task.get_name() == "sira-store-tail")
        tail.cancel()
        await asyncio.wait([tail])
        await one.commit([Delete("a")])
        await one.commit([Put("b", b"2")])
        last = await one.commit([Put("d", b"1")])
        await one.compact(last)
        await _until(lambda: one._mirror.mark.purged >= last - 1, one)
        assert await other.get("a") is not None
        with pytest.raises(Overtaken):
            await other._tail._follow(load=False)
        other._own(other._tail.run(), "sira-store-tail")
        await other._mirror.reached(one._mirror.position, 10)
        assert (await other.snapshot("")).entries == (await one.snapshot("")).entries
        with pytest.raises(RevisionCompacted):
            await anext(watch)
        await other.commit([Put("a", b"3", ABSENT)])
        with pytest.raises(Conflict):
            await one.commit([Put("a", b"4", ABSENT)])


async def test_an_entry_that_is_damaged_is_told_and_the_others_are_read(server: NatsCluster) -> None:
    async with opened(server) as store:
        await store.commit([Put("good", b"1")])
        before = await store.commit([Put("bad", b"1")])
        await store._link.request("sira.k.bad", b"something else", within=5)
        after = await store.commit([Put("good", b"2")])
        with pytest.raises(StoreCorrupt, match="entry bad"):
            await store.get("bad")
        with pytest.raises(StoreCorrupt):
            await store.snapshot("")
        with pytest.raises(StoreCorrupt):
            await anext(store.watch("", after=before))
        entry = await store.get("good")
        assert entry is not None
        assert entry.revision == after
        # Writing it anew mends it.
        await store.commit([Put("bad", b"2")])
        assert await store.get("bad") is not None
    async with opened(server) as store:
        assert len((await store.snapshot("")).entries) == 2


async def test_a_frame_that_is_damaged_is_told(server: NatsCluster) -> None:
    async with opened(server) as store:
        await store.append("log", [b"0", b"1"])
        await store._link.request("sira.l.log", b"something else", within=5)
        await store.append("log", [b"3"])
        assert len(await store.read("log", 3, max_frames=9, max_bytes=99)) == 1
        with pytest.raises(StoreCorrupt, match="offset 2 of the log log"):
            await store.read("log", 0, max_frames=9, max_bytes=99)
