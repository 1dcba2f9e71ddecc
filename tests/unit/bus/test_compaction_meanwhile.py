"""Compaction: the last record of each key stays at its offset, what it supersedes goes, whatever happens meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from sira.bus.v1.topic_pb2 import Topic

from sira_grpc.bus import compaction as module
from sira_grpc.bus.compaction import compact, compactable, discard_orphan
from sira_grpc.bus.retention import retain
from sira_grpc.bus.settings import TopicSettings
from sira_grpc.errors import Conflict, StoreUnavailable
from sira_grpc.store import Put
from tests.unit.bus.compaction_world import KEY, LOGS, MIN_AGE, compacted, contents, publish, topic
from tests.unit.bus.partition_world import PartitionWorld
from tests.unit.bus.test_retention import keep


@pytest.fixture
async def world(partition_world: PartitionWorld) -> PartitionWorld:
    partition_world.recent_bytes = 0
    partition_world.settings = TopicSettings.of(topic())
    await partition_world.reopen()
    return partition_world


async def test_readers_miss_nothing_while_it_goes_on(world: PartitionWorld) -> None:
    """They read one frame at a time, and in between it is compacted and old frames go."""
    for turn in range(20):
        await publish(world, f"a={turn} only{turn}={turn} b={turn}")
    readers = [(0, list[str]()) for _ in range(8)]
    step = 0
    while any(offset < world.partition.end for offset, _ in readers):
        for index, (start, found) in enumerate(readers):
            offset = start
            for _ in range(index + 1):
                for held in (await world.partition.read(offset))[:1]:
                    found += [held.reader.key(place).decode() for place in range(held.count)]
                    offset = held.end
            readers[index] = offset, found
        step += 1
        await publish(world, f"a={step}") if step < 10 else None
        await compacted(world)
    for _, found in readers:
        assert {f"only{turn}" for turn in range(20)} <= set(found)
        assert found[-1] == "a"


async def test_a_reader_that_is_overtaken_reads_on_from_where_it_was(
    world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn in range(6):
        await publish(world, f"k{turn}=1 a={turn}")
    await compacted(world)
    for turn in range(6, 9):
        await publish(world, f"k{turn}=1 a={turn}")
    segment = world.partition.compacted
    assert segment is not None
    read = segment.read

    async def overtaken(number: int, **limits: int) -> object:
        monkeypatch.undo()
        await compacted(world)
        return await read(number, **limits)

    monkeypatch.setattr(segment, "read", overtaken)
    (held, *_) = await world.partition.read(4)
    assert held.base == 4, "and not the first that is left in the partition's own log"


async def test_a_crash_before_it_counts_changes_nothing(world: PartitionWorld) -> None:
    await publish(world, "b=1")
    for turn in range(1, 5):
        await publish(world, f"a={turn}")
    world.logs.failures = [None, StoreUnavailable("full")]  # the mark can be written
    with pytest.raises(StoreUnavailable):
        await compacted(world)
    await world.reopen(killed=True)
    assert len(await contents(world)) == 5
    assert await compacted(world) == ["0:1", "4:4"]


@pytest.mark.parametrize("failing", [LOGS[0], "live"])
async def test_a_crash_after_it_counts_changes_nothing_either(world: PartitionWorld, failing: str) -> None:
    for turn in range(5):
        await publish(world, f"a={turn}")
    await compacted(world)
    for turn in range(5, 10):
        await publish(world, f"a={turn}")
    world.logs.failing = {world.log if failing == "live" else failing}
    try:
        await compacted(world)
    except StoreUnavailable:
        assert failing == LOGS[0], "the old log could not be deleted"
    await world.reopen(killed=True)
    assert await contents(world) == ["9:9"]
    world.logs.failing = set()
    await discard_orphan(world.partition)
    assert (await world.logs.range(LOGS[0])).next == 0
    assert await contents(world) == ["9:9"]
    assert world.partition.records == 1


async def test_of_two_members_one_wins(world: PartitionWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    for turn in range(5):
        await publish(world, f"a={turn}")
    get = world.store.get

    async def overtaken(key: str) -> object:
        found = await get(key)
        await world.store.commit([Put(key, b"")])
        return found

    monkeypatch.setattr(world.store, "get", overtaken)
    with pytest.raises(Conflict):
        await compacted(world)
    assert len(await contents(world)) == 5


async def test_it_pays_when_as_much_can_be_compacted_as_was_before(
    world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MIN_RECORDS", 20)

    async def pays(after: float = MIN_AGE + 1) -> bool:
        world.clock.advance(after)
        return await compactable(world.partition, world.clock.time_ns())

    assert not await pays()
    for number in range(19):
        await publish(world, f"{number}=x")
    assert not await pays(), "there is too little"
    for number in range(19, 40):
        await publish(world, f"{number}=x")
    assert not await pays(0), "it is too young"
    assert await pays()
    await compacted(world)
    assert not await pays()
    for number in range(25):
        await publish(world, f"{number}=x")
    assert not await pays(), "most was compacted before"
    for number in range(25):
        await publish(world, f"{number}=x")
    assert await pays()
    world.partition.settings = TopicSettings.of(Topic())
    assert not await pays()


async def test_large_frames_pay_by_their_size(world: PartitionWorld) -> None:
    for _ in range(3):
        await publish(world, f"a={'x' * 700_000}")
    assert not await compactable(world.partition, world.clock.time_ns())
    world.clock.advance(MIN_AGE + 1)
    assert await compactable(world.partition, world.clock.time_ns())
    found = await compacted(world)
    assert [each[:2] for each in found] == ["2:"]


async def test_what_was_compacted_goes_by_age_too(world: PartitionWorld) -> None:
    for turn in range(6):
        await publish(world, f"{turn}={turn}")
        world.clock.advance(10)
    await compacted(world)
    await publish(world, "end")
    keep(world, seconds=45)
    await retain(world.partition, world.clock.time_ns())
    assert await contents(world) == ["3:3", "4:4", "5:5", "6:end"]
    assert world.partition.records == 4
    await world.reopen(killed=True)
    assert await contents(world) == ["3:3", "4:4", "5:5", "6:end"]
    keep(world, count=2)
    await retain(world.partition, world.clock.time_ns())
    assert await contents(world) == ["5:5", "6:end"]
    await publish(world, "5=new")
    assert await compacted(world) == ["6:end", "7:new"]


async def test_nothing_is_written_when_the_topic_is_gone(world: PartitionWorld) -> None:
    for turn in range(5):
        await publish(world, f"a={turn}")
    world.clock.advance(MIN_AGE + 1)
    world.logs.shut()
    task = asyncio.create_task(compact(world.partition, world.store, world.clock.time_ns()))
    await world.logs.arrived()
    world.partition.close()
    idle = asyncio.create_task(world.partition.idle())
    await asyncio.sleep(0)
    assert not idle.done()
    world.logs.open()
    await task
    await idle
    assert await world.store.get(KEY) is None
    assert (await world.logs.range(LOGS[0])).next == 0
    await compact(world.partition, world.store, world.clock.time_ns())
    await discard_orphan(world.partition)
    assert await world.store.get(KEY) is None
