"""The upkeep of open partitions: each has its turn, and what fails is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sira.bus.v1.topic_pb2 import Compaction, Topic

from sira_grpc.bus import compaction, names
from sira_grpc.bus import upkeep as module
from sira_grpc.bus.partitions import OpenPartition
from sira_grpc.bus.settings import TopicSettings
from sira_grpc.bus.tenure import Tenure
from sira_grpc.bus.upkeep import Upkeep
from sira_grpc.store import LogRange
from tests.unit.bus.control_world import DEFAULT
from tests.unit.bus.partition_world import UID, PartitionWorld, record
from tests.unit.bus.test_retention import keep

ORPHAN = names.compacted_of(UID, 0)[0]


def opened_in(world: PartitionWorld) -> list[OpenPartition]:
    return [OpenPartition(world.partition, world.appender, world.scheduled, Tenure(DEFAULT))]


def upkeep_of(world: PartitionWorld) -> Upkeep:
    return Upkeep(lambda: opened_in(world), world.store, world.clock)


@pytest.fixture
async def upkeep(partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Upkeep]:
    """Running, without a pause."""
    monkeypatch.setattr(module, "RETAIN_SECONDS", 0)
    monkeypatch.setattr(module, "COMPACT_SECONDS", 0)
    made = upkeep_of(partition_world)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def compacted_topic() -> TopicSettings:
    topic = Topic(compaction=Compaction())
    topic.compaction.min_age.FromSeconds(1)
    return TopicSettings.of(topic)


@pytest.mark.usefixtures("upkeep")
async def test_what_is_too_old_goes_by_itself(partition_world: PartitionWorld) -> None:
    world = partition_world
    keep(world, seconds=10)
    await world.publish_each("ab", seconds=1)
    world.clock.advance(10)
    await world.logs.until(lambda: world.partition.first == 2)
    assert await world.payloads() == []


@pytest.mark.usefixtures("upkeep")
async def test_topics_are_compacted_by_themselves(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = partition_world
    monkeypatch.setattr(compaction, "MIN_RECORDS", 10)
    world.partition.settings = compacted_topic()
    for number in range(20):
        await world.publish(record(str(number), key="a"))
    world.clock.advance(2)
    await world.logs.until(lambda: world.partition.compacted is not None)


@pytest.mark.usefixtures("upkeep")
async def test_what_fails_is_tried_again(partition_world: PartitionWorld, caplog: pytest.LogCaptureFixture) -> None:
    world = partition_world
    keep(world, seconds=10)
    await world.publish_each("ab", seconds=20)
    world.logs.unreadable = {world.log}
    await world.logs.until(lambda: "upkeep failed" in caplog.text)
    world.logs.unreadable = set()
    await world.logs.until(lambda: world.partition.first == 2)


async def test_what_a_compaction_has_left_is_emptied_once(partition_world: PartitionWorld) -> None:
    world, upkeep = partition_world, upkeep_of(partition_world)
    (opened,) = opened_in(world)
    await world.store.append(ORPHAN, [b"half done"])
    await upkeep.compact(opened)
    assert await world.logs.range(ORPHAN) == LogRange(0, 1), "the topic is not compacted"
    world.partition.settings = compacted_topic()
    await upkeep.compact(opened)
    assert await world.logs.range(ORPHAN) == LogRange(1, 1)
    await world.store.append(ORPHAN, [b"there"])
    await upkeep.compact(opened)
    assert await world.logs.range(ORPHAN) == LogRange(1, 2)
