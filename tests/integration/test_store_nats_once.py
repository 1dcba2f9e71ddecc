from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg

from sira_grpc.errors import Conflict, StoreUnavailable
from sira_grpc.nats_servers import NatsCluster
from sira_grpc.store import ABSENT, Put
from sira_grpc.store.nats import NatsStore
from sira_grpc.store.nats_errors import Lost
from tests.integration.nats_worlds import opened


class Losing:
    """Loses what is sent, or the answers to it."""

    def __init__(self, store: NatsStore, subject: str) -> None:
        self._request = store._link.request
        self._subject = subject
        self.answers = 0
        self.messages = 0
        self.lost = asyncio.Event()
        self.late: list[tuple[str, bytes, Mapping[str, str] | None]] = []
        store._link.request = self.request  # type: ignore[method-assign]  # what stands between is tested

    async def request(
        self, subject: str, payload: bytes, *, within: float, headers: Mapping[str, str] | None = None
    ) -> Msg:
        if subject.startswith(self._subject):
            if self.messages:
                self.messages -= 1
                self.late.append((subject, payload, headers))
                self.lost.set()
                raise Lost("the message is lost", sent=True)
            if self.answers:
                self.answers -= 1
                await self._request(subject, payload, within=within, headers=headers)
                raise Lost("the answer is lost", sent=True)
        return await self._request(subject, payload, within=within, headers=headers)

    async def arrive(self) -> None:
        """Has the lost messages arrive after all."""
        for subject, payload, headers in self.late:
            await self._request(subject, payload, within=5, headers=headers)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[NatsStore]:
    async with NatsCluster(tmp_path, 1) as servers, opened(servers, write_timeout=5) as store:
        yield store


@pytest.mark.parametrize("lost", ["answers", "messages"])
@pytest.mark.parametrize("keys", [["k/a"], ["k/a", "k/b"]])
async def test_a_commit_is_applied_once_whatever_is_lost(store: NatsStore, lost: str, keys: list[str]) -> None:
    losing = Losing(store, "sira.k.")
    for _ in range(3):
        setattr(losing, lost, 2)
        before = {key: await store.get(key) for key in keys}
        position = store._mirror.position
        revision = await store.commit([Put(key, b"x") for key in keys])
        assert revision == position + len(keys) == store.revision
        await losing.arrive()
        await store.commit([Put("other", b"")])
        for key in keys:
            entry = await store.get(key)
            assert entry != before[key]
            assert entry is not None
            assert entry.revision <= revision


@pytest.mark.parametrize("lost", ["answers", "messages"])
@pytest.mark.parametrize("frames", [[b"1"], [b"1", b"2"]])
async def test_an_append_is_stored_once_whatever_is_lost(store: NatsStore, lost: str, frames: list[bytes]) -> None:
    losing = Losing(store, "sira.l.")
    for n in range(3):
        setattr(losing, lost, 2)
        assert await store.append("log", frames, expected=None if n else 0) == n * len(frames)
        await losing.arrive()
    assert [frame.data for frame in await store.read("log", 0, max_frames=99, max_bytes=999)] == frames * 3


async def test_a_lost_commit_that_another_has_overtaken_is_a_conflict(store: NatsStore) -> None:
    losing = Losing(store, "sira.k.")
    losing.messages = 1
    mine = asyncio.create_task(store.commit([Put("k", b"mine", ABSENT)]))
    await losing.lost.wait()
    async with opened_again(store) as other:
        await other.commit([Put("k", b"other", ABSENT)])
    with pytest.raises(Conflict):
        await mine
    await losing.arrive()
    entry = await store.get("k")
    assert entry is not None
    assert entry.value == b"other"


async def test_a_commit_that_time_is_up_for_says_that_its_outcome_is_unknown(tmp_path: Path) -> None:
    async with NatsCluster(tmp_path, 1) as servers, opened(servers, write_timeout=0.5) as store:
        losing = Losing(store, "sira.k.")
        losing.messages = 1000
        with pytest.raises(StoreUnavailable) as unknown:
            await store.commit([Put("k", b"")])
        assert unknown.value.metadata["outcome"] == "unknown"
        await losing.arrive()
        losing.messages = 0
        async with asyncio.timeout(30):
            await _until_written(store)
        assert await store.get("k") is not None


async def _until_written(store: NatsStore) -> None:
    """Returns when a commit has gone through."""
    while True:
        with suppress(StoreUnavailable):
            await store.commit([Put("other", b"")])
            return
        await asyncio.sleep(0.01)


def opened_again(store: NatsStore) -> Any:
    """Another member on the servers of a store."""
    return opened(_Servers(store._link.client.connected_url.netloc))  # type: ignore[arg-type,union-attr]  # connected


class _Servers:
    """One server, by its address."""

    def __init__(self, address: str) -> None:
        self.url = f"nats://{address}"
        self.servers = (None,)
