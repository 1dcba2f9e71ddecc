"""Compaction: the last record of each key stays at its offset, what it supersedes goes, whatever happens meanwhile."""

from __future__ import annotations

from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.topic_pb2 import Compaction, Topic

from sira_grpc.bus import names
from sira_grpc.bus.compaction import compact
from tests.unit.bus.partition_world import UID, PartitionWorld, record

MIN_AGE = 10
TOMBSTONE_AGE = 100
KEY = names.compaction_key(UID, 0)
LOGS = names.compacted_of(UID, 0)


def topic() -> Topic:
    made = Topic(compaction=Compaction())
    made.compaction.min_age.FromSeconds(MIN_AGE)
    made.compaction.tombstone_age.FromSeconds(TOMBSTONE_AGE)
    return made


async def publish(world: PartitionWorld, words: str) -> None:
    """Publishes a frame of records, `key=payload` each; what has no key is a payload alone."""
    await world.publish(*map(of, words.split()))


def of(word: str) -> Record:
    key, equals, payload = word.rpartition("=")
    return record(payload if equals else word, key=key)


async def compacted(world: PartitionWorld, *, after: float = MIN_AGE + 1) -> list[str]:
    """Moves time, compacts, and returns what can be read: offset and payload of each record."""
    world.clock.advance(after)
    await compact(world.partition, world.store, world.clock.time_ns())
    return await contents(world)


async def contents(world: PartitionWorld) -> list[str]:
    return [f"{offset}:{payload}" for offset, payload in await world.records()]
