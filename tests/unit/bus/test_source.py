"""What a subscription takes of a partition for a consumer."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from sira.bus.v1.subscription_pb2 import Subscription
from sira.bus.v1.subscription_service_pb2 import SubscribeResponse
from sira_client.frames import FrameReader

from sira_grpc.bus.parcel import Parcel
from sira_grpc.bus.settings import SubscriptionSettings
from sira_grpc.bus.source import Source
from tests.unit.bus.partition_world import PartitionWorld, records

CONSUMER = 1
ALL = 1 << 30


async def opened(world: PartitionWorld) -> Source:
    settings = SubscriptionSettings.of(Subscription(topics=["t"]))
    source = Source(world.partition, "f" * 16, lambda: settings, world.clock, random.Random(1))
    await source.open(0, 0)
    return source


async def taken(source: Source, world: PartitionWorld) -> list[Parcel]:
    await source.read_on()
    parcels, _ = await source.gather(CONSUMER, ALL, world.clock.monotonic())
    return parcels


def told(source: Source, parcels: Sequence[Parcel]) -> list[tuple[int, str]]:
    """The offsets and the payloads that consumers are sent."""
    found = []
    for parcel in parcels:
        message, _, _ = parcel.message(source.partition, ())
        delivery = SubscribeResponse.FromString(message).delivery
        reader = FrameReader(delivery.frame)
        offsets = delivery.offsets or range(delivery.base_offset, delivery.base_offset + reader.count)
        for index, offset in enumerate(offsets):
            if not delivery.ranges or any(each.first <= offset < each.end for each in delivery.ranges):
                found.append((offset, reader.payload(index).decode()))
    return found


@pytest.mark.parametrize("order", [(1, 9, 3), (9, 3, 1), (3, 4, 1)])
async def test_what_came_back_in_any_order_goes_out_with_its_own_offsets(
    partition_world: PartitionWorld, order: tuple[int, ...]
) -> None:
    await partition_world.publish(*records(*map(str, range(20))))
    source = await opened(partition_world)
    assert told(source, await taken(source, partition_world)) == [(n, str(n)) for n in range(20)]
    for offset in order:
        source.machine.nak(CONSUMER, offset, offset + 1, now=partition_world.clock.monotonic(), delay=0.0)
    assert told(source, await taken(source, partition_world)) == [(n, str(n)) for n in sorted(order)]
