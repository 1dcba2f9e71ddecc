"""The engines that the contract suite runs on, each as something a test can open, lose hold of and open again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import nats

from sira_grpc.clock import SystemClock
from sira_grpc.nats_servers import NatsCluster
from sira_grpc.store import Store, open_sqlite
from sira_grpc.store.nats import RING_BYTES as NATS_RING_BYTES
from sira_grpc.store.nats import NatsStore, open_nats
from sira_grpc.store.nats_options import NatsOptions
from sira_grpc.store.sqlite import RING_BYTES


class Engine(Protocol):
    """One store at a time, with data that outlives it until destroy()."""

    async def open(self) -> Store:
        """Opens the store on what has been written so far; empty at first."""

    async def reopen(self) -> Store:
        """Closes the store that is open and opens it again."""

    async def destroy(self) -> None:
        """Closes the store, if it is open, and forgets its data."""


class SqliteEngine:
    """The embedded engine, in a directory."""

    ring_bytes = RING_BYTES

    def __init__(self, path: Path) -> None:
        self._path = path
        self._store: Store | None = None

    async def open(self) -> Store:
        self._store = await open_sqlite(self._path, clock=SystemClock(), ring_bytes=self.ring_bytes)
        return self._store

    async def reopen(self) -> Store:
        await self._close()
        return await self.open()

    async def destroy(self) -> None:
        await self._close()
        shutil.rmtree(self._path, ignore_errors=True)

    async def _close(self) -> None:
        if self._store is not None:
            await self._store.close()
            self._store = None


class RinglessSqliteEngine(SqliteEngine):
    """The embedded engine, with nothing in memory: every watch reads the history from the file."""

    ring_bytes = 0


class NatsEngine:
    """The cluster's engine, on servers that are there; a prefix of its own is its data."""

    ring_bytes = NATS_RING_BYTES

    def __init__(self, servers: NatsCluster) -> None:
        self._servers = servers
        self._options = NatsOptions(
            url=servers.url, prefix=f"t{uuid4().hex[:16]}", replicas=min(3, len(servers.servers))
        )
        self._stores: list[NatsStore] = []

    async def open(self) -> Store:
        """Opens the store; where it is open already, as another member does."""
        self._stores.append(await open_nats(self._options, clock=SystemClock(), ring_bytes=self.ring_bytes))
        return self._stores[-1]

    async def reopen(self) -> Store:
        await self._close()
        return await self.open()

    async def destroy(self) -> None:
        await self._close()
        await delete_streams(self._servers.url, self._options.prefix)

    async def _close(self) -> None:
        while self._stores:
            await self._stores.pop().close()


class RinglessNatsEngine(NatsEngine):
    """The cluster's engine, with nothing in memory: every watch reads the history from the stream."""

    ring_bytes = 0


async def delete_streams(url: str, prefix: str) -> None:
    """Deletes every stream of a store."""
    client = await nats.connect(url.split(","))
    try:
        jetstream = client.jetstream()
        for stream in await jetstream.streams_info():
            if stream.config.name and stream.config.name.startswith(f"{prefix}_"):
                await jetstream.delete_stream(stream.config.name)
    finally:
        await client.close()
