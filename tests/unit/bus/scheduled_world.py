"""Scheduled records: none before its time, each once, whatever happens in between."""

from __future__ import annotations

from sira.bus.v1.record_pb2 import Record

from sira_grpc.bus import names
from sira_grpc.errors import StoreUnavailable
from tests.clocks import NANOS
from tests.unit.bus.partition_world import UID, PartitionWorld, record

LOG = names.scheduled_of(UID, 0)
RELEASED = names.released_of(UID, 0)
DOWN = StoreUnavailable("the disk is full")


def later(world: PartitionWorld, payload: str, seconds: float, *, id_: str = "", ttl: float = 0.0) -> Record:
    due_ns = world.clock.time_ns() + round(seconds * NANOS)
    return record(payload, id_=id_, ttl=ttl, deliver_at_ns=due_ns)


async def at(world: PartitionWorld, seconds: float) -> list[str]:
    """Moves time, releases what is due, and returns all that can be read."""
    world.clock.advance(seconds)
    await world.scheduled.release()
    return await world.payloads()
