"""What a subscription takes of a partition for a consumer."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from sira.bus.v1.subscription_pb2 import Subscription, SubscriptionMode
from sira.bus.v1.subscription_service_pb2 import SubscribeResponse
from sira_client.frames import FrameReader

from sira_grpc.bus.parcel import Parcel
from sira_grpc.bus.settings import SubscriptionSettings
from sira_grpc.bus.source import Source
from sira_grpc.bus.stored import Held
from tests.unit.bus.partition_world import PartitionWorld, record, records

QUEUE = SubscriptionMode.SUBSCRIPTION_MODE_QUEUE
ORDERED = SubscriptionMode.SUBSCRIPTION_MODE_ORDERED
CONSUMER = 1
ALL = 1 << 30


async def opened(world: PartitionWorld, mode: SubscriptionMode.ValueType) -> Source:
    settings = SubscriptionSettings.of(Subscription(topics=["t"], mode=mode))
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
    source = await opened(partition_world, QUEUE)
    assert told(source, await taken(source, partition_world)) == [(n, str(n)) for n in range(20)]
    for offset in order:
        source.machine.nak(CONSUMER, offset, offset + 1, now=partition_world.clock.monotonic(), delay=0.0)
    assert told(source, await taken(source, partition_world)) == [(n, str(n)) for n in sorted(order)]


async def test_what_is_given_back_while_the_rest_is_read_for_does_not_go_out(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = partition_world
    await world.publish(record("0", key="a"), record("1", key="b"))
    source = await opened(world, ORDERED)
    assert told(source, await taken(source, world)) == [(0, "0"), (1, "1")]
    await world.publish(record("2", key="a"), record("3", key="b"))
    await source.read_on()
    read = world.partition.read

    async def read_and_give_back(offset: int) -> list[Held]:
        source.machine.nak(CONSUMER, 0, 1, now=world.clock.monotonic(), delay=0.0)
        return await read(offset)

    monkeypatch.setattr(world.partition, "read", read_and_give_back)
    monkeypatch.setattr(source, "_ahead", ())
    parcels, _ = await source.gather(CONSUMER, ALL, world.clock.monotonic())
    assert told(source, parcels) == [(3, "3")]
    monkeypatch.undo()
    assert told(source, await taken(source, world)) == [(0, "0"), (2, "2")]
