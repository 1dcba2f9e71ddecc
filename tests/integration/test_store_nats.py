from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from sira_grpc.errors import Conflict, StoreUnavailable
from sira_grpc.nats_servers import NatsCluster, NatsServer
from sira_grpc.store import ABSENT, Put, Store
from tests.integration.nats_worlds import Counting, opened

STATE = "sira_state"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    async with NatsCluster(tmp_path / "nats", 3) as servers:
        yield servers


async def _leader(cluster: NatsCluster, stream: str = STATE) -> NatsServer:
    while True:
        found = await cluster.stream_leader(stream)
        if found is not None:
            return found


async def _progress(stores: list[Store], by: int) -> None:
    """Returns when a counter that the writers share has grown by so much."""
    entry = await stores[0].get("shared/total")
    start = int(entry.value) if entry else 0
    async for total in _totals(stores[0]):
        if total >= start + by:
            return


async def _totals(store: Store) -> AsyncIterator[int]:
    feed = store.watch("shared/", after=store.revision)
    try:
        async for commit in feed:
            yield int(commit.changes[-1].value or b"0")
    finally:
        await feed.aclose()


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_nothing_is_lost_or_double_when_the_leader_is_gone(cluster: NatsCluster, how: str) -> None:
    async with opened(cluster) as one, opened(cluster) as other:
        stores: list[Store] = [one, other]
        going = True
        counters = [Counting(f"c{n}") for n in range(4)]
        writers = [asyncio.create_task(counter.run(stores[n % 2], lambda: going)) for n, counter in enumerate(counters)]
        try:
            async with asyncio.timeout(100):
                await _progress(stores, 20)
                for _ in range(2):
                    leader = await _leader(cluster)
                    if how == "kill":
                        await leader.kill()
                    else:
                        leader.pause()
                    await _progress(stores, 20)
                    if how == "kill":
                        await leader.start()
                    else:
                        leader.resume()
                    await cluster.current()
        finally:
            going = False
            await asyncio.gather(*writers)
        for counter in counters:
            await counter.check(one)
            await counter.check(other)
        total = await one.get("shared/total")
        assert total is not None
        acknowledged = sum(counter.acknowledged for counter in counters)
        assert acknowledged <= int(total.value) <= acknowledged + sum(counter.unknown for counter in counters)
        assert int(total.value) >= 60


async def test_two_members_see_each_others_commits_whole_and_in_order(cluster: NatsCluster) -> None:
    async with opened(cluster) as one, opened(cluster) as other:
        feeds = [store.watch("", after=0) for store in (one, other)]
        await asyncio.gather(
            *(
                store.commit([Put(f"a/{n}", b"%d" % n, ABSENT), Put(f"b/{n}", b"%d" % n, ABSENT)])
                for n, store in enumerate([one, other] * 40)
            )
        )
        seen = [[await anext(feed) for _ in range(80)] for feed in feeds]
        assert seen[0] == seen[1]
        for commit in seen[0]:
            assert [change.key[0] for change in commit.changes] == ["a", "b"]
            assert commit.changes[0].key[1:] == commit.changes[1].key[1:]
        assert [commit.revision for commit in seen[0]] == sorted({commit.revision for commit in seen[0]})


async def test_a_deposed_writer_is_fenced(cluster: NatsCluster) -> None:
    async with opened(cluster) as old, opened(cluster) as new:
        assert await old.append("orders/0", [b"0", b"1"], expected=0) == 0
        assert await new.append("orders/0", [b"2"], expected=2) == 2
        with pytest.raises(Conflict) as conflict:
            await old.append("orders/0", [b"stale"], expected=2)
        assert conflict.value.metadata["next"] == "3"
        assert [frame.data for frame in await old.read("orders/0", 0, max_frames=9, max_bytes=99)] == [b"0", b"1", b"2"]


async def test_what_was_acknowledged_outlives_the_end_of_all_servers(cluster: NatsCluster) -> None:
    async with opened(cluster) as store:
        for n in range(20):
            await store.commit([Put(f"key/{n}", b"%d" % n), Put("last", b"%d" % n)])
            await store.append("log", [b"%d" % n])
        await asyncio.gather(*(server.kill() for server in cluster.servers))
        await cluster.start()
        # It comes back by itself.
        assert await store.append("log", [b"20"]) == 20
        await store.commit([Put("after", b"")])
    async with opened(cluster) as store:
        assert len((await store.snapshot("key/")).entries) == 20
        frames = await store.read("log", 0, max_frames=99, max_bytes=999)
        assert [frame.data for frame in frames] == [b"%d" % n for n in range(21)]


async def test_a_store_opens_and_works_while_a_server_is_down(cluster: NatsCluster) -> None:
    await cluster.servers[0].kill()
    async with opened(cluster) as store:
        await store.commit([Put("a", b"1"), Put("b", b"2")])
        assert await store.append("log", [b"1"]) == 0
        await cluster.servers[0].start()
        await cluster.current()
        await cluster.servers[1].kill()
        await store.commit([Put("a", b"3")])
        assert await store.append("log", [b"2"]) == 1


async def test_a_store_without_a_majority_says_so_and_comes_back(cluster: NatsCluster) -> None:
    async with opened(cluster, write_timeout=1.0) as store:
        await store.commit([Put("a", b"1")])
        for server in cluster.servers[:2]:
            await server.kill()
        with pytest.raises(StoreUnavailable) as refused:
            await store.commit([Put("a", b"2")])
        assert refused.value.retry_after is not None
        assert not store.writable
        assert not store.available
        with pytest.raises(StoreUnavailable, match="takes no writes now") as at_once:
            await store.commit([Put("a", b"3")])
        assert at_once.value.metadata["outcome"] == "none"
        assert await store.get("a") is not None
        await asyncio.gather(*(server.start() for server in cluster.servers[:2]))
        async with asyncio.timeout(60):
            while True:
                with suppress(StoreUnavailable):
                    await store.commit([Put("b", b"1")])
                    break
                await asyncio.sleep(0.05)
        assert store.writable
        assert store.available
