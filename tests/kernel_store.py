"""What kernels under test store in: a folder, or real NATS servers where SIRA_TEST_ENGINE says so.

`SIRA_TEST_ENGINE=nats pytest tests/integration/test_bus_wire.py` runs on one server; `nats3` on three with three
replicas. Each folder has a prefix of its own on them, so a kernel that is started again in its folder finds what was
there.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import nats

from sira_grpc.clock import SystemClock
from sira_grpc.config import StoreConfig
from sira_grpc.store import Store, open_store

ENGINE = os.environ.get("SIRA_TEST_ENGINE", "sqlite")
SERVERS = {"sqlite": 0, "nats": 1, "nats3": 3}[ENGINE]
"""How many NATS servers there are."""
URL = "SIRA_TEST_NATS_URL"
"""The variable that says where they are: tests/conftest.py starts them."""


def store_config(folder: Path) -> StoreConfig:
    """Returns the configuration of the store for a kernel that has a folder to itself."""
    if not SERVERS:
        return StoreConfig(data_dir=str(folder))
    return StoreConfig(data_dir=str(folder), url=os.environ[URL], prefix=_prefix(folder), replicas=SERVERS)


def store_environment(folder: Path) -> dict[str, str]:
    """Returns what tells a kernel that is a process of its own the same."""
    if not SERVERS:
        return {}
    return {
        "SIRA_STORE_URL": os.environ[URL],
        "SIRA_STORE_PREFIX": _prefix(folder),
        "SIRA_STORE_REPLICAS": str(SERVERS),
    }


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Store]:
    """Has the store of a kernel; an embedded one that no kernel holds."""
    store = await open_store(store_config(folder), clock=SystemClock())
    try:
        yield store
    finally:
        await store.close()


async def count_entries(folder: Path, prefix: str) -> int:
    """Returns how many entries there are below a prefix, in the store of a kernel that runs."""
    if SERVERS:
        async with opened(folder) as store:
            return len((await store.snapshot(prefix)).entries)
    return len(await asyncio.to_thread(_rows, folder, f"SELECT key FROM state WHERE key LIKE '{prefix}%'"))


async def partitions(folder: Path) -> Sequence[str]:
    """Returns the names of all logs in the store of a kernel that has ended."""
    if not SERVERS:
        return await asyncio.to_thread(_rows, folder, "SELECT name FROM log_partition")
    before = f"{_prefix(folder)}_log_"
    return [name.removeprefix(before).replace("+", "/") for name in await streams() if name.startswith(before)]


async def streams(*, delete: bool = False) -> Sequence[str]:
    """Returns the names of all streams of the servers, after it has deleted them if it is told to."""
    client = await nats.connect(os.environ[URL].split(","))
    try:
        jetstream = client.jetstream(timeout=30)
        found, page = list[str](), await jetstream.streams_info()
        while page:
            found += [stream.config.name or "" for stream in page]
            page = await jetstream.streams_info(offset=len(found))
        if delete:
            await asyncio.gather(*map(jetstream.delete_stream, found))
    finally:
        await client.close()
    return found


def _rows(folder: Path, query: str) -> list[str]:
    """The first column of what a query finds in the file of an embedded store."""
    with closing(sqlite3.connect(f"file:{folder / 'sira.db'}?mode=ro", uri=True)) as db:
        return [name for (name,) in db.execute(query)]


def _prefix(folder: Path) -> str:
    return "t" + hashlib.sha256(str(folder).encode()).hexdigest()[:16]
