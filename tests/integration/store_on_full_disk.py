"""A store whose disk fills up and is freed again: what must hold, on any disk that can be filled.

Run as: store_on_full_disk.py DIRECTORY, the disk is one on which no file may grow (RLIMIT_FSIZE).
"""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sira_grpc.clock import SystemClock
from sira_grpc.errors import StoreUnavailable
from sira_grpc.store import LogRange, Put, open_sqlite

LARGE = bytes(1 << 19)
DIGEST_OF_LARGE = "07854d2fef297a06ba81685e660c332de36d5d18d546927d30daad6d7fda1541"


async def check_full_disk(directory: Path, fill: Callable[[], None], free: Callable[[], None]) -> None:
    """Writes before the disk is full, while it is, and after."""
    store = await open_sqlite(directory, clock=SystemClock())
    start = await store.commit([Put("a", b"before"), Put("b", b"before")])
    await store.append("log", [b"before"])
    fill()
    failures: list[StoreUnavailable] = []
    acknowledged = 0
    while not failures:
        try:
            # What is free inside the files may still take a few.
            await store.commit([Put("a", LARGE), Put("b", b"%d" % acknowledged)])
            acknowledged += 1
        except StoreUnavailable as error:
            failures.append(error)
    assert failures[0].metadata == {"path": str(directory), "outcome": "none"}
    assert str(directory) in failures[0].message
    outcomes = await asyncio.gather(
        *(store.commit([Put("a", LARGE), Put(f"new/{n}", LARGE)]) for n in range(4)),
        store.append("log", [LARGE * 8]),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 5
    with pytest.raises(StoreUnavailable):
        await store.put_blob(_large())

    assert not store.writable
    assert store.revision == start + acknowledged
    entry = await store.get("b")
    assert entry is not None
    assert entry.value == (b"%d" % (acknowledged - 1) if acknowledged else b"before")
    assert [entry.key for entry in (await store.snapshot("")).entries] == ["a", "b"]
    assert await store.range("log") == LogRange(0, 1)

    free()
    assert await store.commit([Put("a", LARGE), Put("b", b"after")]) == start + acknowledged + 1
    assert store.writable
    assert await store.append("log", [b"after"]) == 1
    assert await store.put_blob(_large()) == DIGEST_OF_LARGE
    await store.close()

    store = await open_sqlite(directory, clock=SystemClock())
    feed = store.watch("", after=start)
    seen = [(await anext(feed)).changes[1].value for _ in range(acknowledged + 1)]
    assert seen == [*(b"%d" % number for number in range(acknowledged)), b"after"]
    frames = await store.read("log", 0, max_frames=10, max_bytes=100)
    assert [frame.data for frame in frames] == [b"before", b"after"]
    await store.close()


async def _large() -> AsyncIterator[bytes]:
    yield LARGE


def _no_growth(directory: Path) -> None:
    largest = max(path.stat().st_size for path in directory.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))


def _growth() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


if __name__ == "__main__":
    path = Path(sys.argv[1])
    asyncio.run(check_full_disk(path, lambda: _no_growth(path), _growth))
