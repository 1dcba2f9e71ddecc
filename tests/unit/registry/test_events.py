from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from sira.registry.v1.event_pb2 import Event, EventType

from sira_grpc.errors import StoreUnavailable
from sira_grpc.registry.events import PARTITION, EventLog
from sira_grpc.store import open_sqlite
from sira_grpc.store.sqlite import SqliteStore
from tests.clocks import FakeClock

CREATED = EventType.EVENT_TYPE_CREATED


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> SqliteStore:
    return await open_sqlite(tmp_path, clock=clock)


@pytest.fixture(autouse=True)
async def _closed(store: SqliteStore) -> object:
    yield
    await store.close()


def causes(log: EventLog, *, below: int = 0, resource: str = "") -> list[str]:
    return [event.cause for _, event in log.latest(below=below, resource=resource)]


async def test_the_newest_come_first_with_all_that_is_known(store: SqliteStore, clock: FakeClock) -> None:
    log = EventLog(store, clock, limit=10)
    log.record(CREATED, "namespaces/a", "first", revision=1, actor="me")
    clock.advance(1)
    log.record(EventType.EVENT_TYPE_DELETED, "namespaces/a", "second")
    assert causes(log) == ["second", "first"]
    _, first = list(log.latest(below=0, resource=""))[1]
    told = Event(type=CREATED, resource="namespaces/a", cause="first", revision=1, actor="me")
    told.time.FromNanoseconds(clock.time_ns() - 1_000_000_000)
    assert first == told


async def test_only_so_many_are_kept(store: SqliteStore, clock: FakeClock) -> None:
    log = EventLog(store, clock, limit=3)
    for i in range(5):
        log.record(CREATED, "r", str(i))
    assert causes(log) == ["4", "3", "2"]


async def test_those_of_a_resource_and_what_is_in_it(store: SqliteStore, clock: FakeClock) -> None:
    log = EventLog(store, clock, limit=10)
    for name in ("namespaces/a", "namespaces/ab", "namespaces/a/services/s"):
        log.record(CREATED, name, name)
    assert causes(log, resource="namespaces/a") == ["namespaces/a/services/s", "namespaces/a"]


async def test_older_than_a_number(store: SqliteStore, clock: FakeClock) -> None:
    log = EventLog(store, clock, limit=10)
    for i in range(4):
        log.record(CREATED, "r", str(i))
    numbers = [number for number, _ in log.latest(below=0, resource="")]
    assert numbers == sorted(numbers, reverse=True)
    assert causes(log, below=numbers[1]) == ["1", "0"]


async def test_they_are_there_after_a_restart(store: SqliteStore, clock: FakeClock) -> None:
    log = EventLog(store, clock, limit=5000)
    for i in range(2500):  # more than one frame
        log.record(CREATED, "r", str(i))
    await log.flush()
    again = EventLog(store, clock, limit=5000)
    await again.load()
    assert causes(again) == [str(i) for i in reversed(range(2500))]
    fewer = EventLog(store, clock, limit=2)
    await fewer.load()
    assert causes(fewer) == ["2499", "2498"]


async def test_they_are_written_as_they_come(store: SqliteStore, clock: FakeClock) -> None:
    log = EventLog(store, clock, limit=10)
    appended = asyncio.Event()

    class Told:
        """The store, and the news of what is appended."""

        async def append(self, partition: str, frames: Sequence[bytes]) -> int:
            offset = await store.append(partition, frames)
            appended.set()
            return offset

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

    log._store = Told()  # type: ignore[assignment]  # the rest of the store is behind __getattr__
    task = asyncio.create_task(log.run())
    for i in range(2):
        appended.clear()
        log.record(CREATED, "r", str(i))
        await appended.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    again = EventLog(store, clock, limit=10)
    await again.load()
    assert causes(again) == ["1", "0"]


async def test_the_log_is_trimmed(store: SqliteStore, clock: FakeClock) -> None:
    log = EventLog(store, clock, limit=16)
    for i in range(600):
        log.record(CREATED, "r", str(i))
        await log.flush()
    held = await store.range(PARTITION)
    assert held.next - held.first <= 16 + 256
    again = EventLog(store, clock, limit=16)
    await again.load()
    assert causes(again) == causes(log)


async def test_a_store_that_cannot_write_loses_events_but_no_calls(store: SqliteStore, clock: FakeClock) -> None:
    log = EventLog(store, clock, limit=10)
    await store.close()
    log.record(CREATED, "r", "kept in memory")
    await log.flush()
    assert causes(log) == ["kept in memory"]
    with pytest.raises(StoreUnavailable):
        await log.load()
