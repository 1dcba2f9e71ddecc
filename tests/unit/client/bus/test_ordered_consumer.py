"""A subscription in order: a record that is given back takes with it what follows it of its key, and nothing else."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random

import pytest
from sira.bus.v1.subscription_pb2 import SubscriptionMode
from sira_client.bus import Bus, Record
from sira_client.frames import pack_columns

from tests.unit.client.bus.bus_double import BusDouble
from tests.unit.client.bus.partitions import Partition
from tests.unit.client.bus.streams import KnownSubscription


@pytest.fixture
def billing(double: BusDouble, partition: Partition) -> KnownSubscription:
    return double.add_subscription("billing", mode=SubscriptionMode.SUBSCRIPTION_MODE_ORDERED)


def put(partition: Partition, keys: str) -> None:
    """A frame of one record for each letter, with it as the key; `-` is none."""
    partition.append(pack_columns([k.encode() for k in keys], keys=[b"" if k == "-" else k.encode() for k in keys]))


async def test_what_follows_of_the_same_key_is_not_handed_out(
    bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    put(partition, "aab-")
    put(partition, "ab-a")
    async with bus.subscribe("billing") as records:
        found = aiter(records)
        await (await anext(found)).nak(delay=60)
        assert [(await anext(found)).offset for _ in range(4)] == [2, 3, 5, 6]
        await billing.due()
        again = [await anext(found) for _ in range(4)]
        assert [(record.offset, record.attempt) for record in again] == [(0, 2), (1, 2), (4, 2), (7, 2)]


async def test_what_is_in_hand_and_was_taken_back_does_not_count(
    bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    put(partition, "aaa")
    async with bus.subscribe("billing", concurrency=3) as records:
        found = aiter(records)
        first, second, third = [await anext(found) for _ in range(3)]
        await first.nak(delay=60)
        assert not await second.ack()
        async with third:
            pass
        assert not billing.acked
        await billing.due()
        assert [(await anext(found)).offset for _ in range(3)] == [0, 1, 2]


async def test_what_was_on_its_way_does_not_overtake(
    double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    put(partition, "aa")
    async with bus.subscribe("billing", prefetch_records=1) as records:
        found = aiter(records)
        first = await anext(found)
        double.consumers.settling.clear()
        (stream,) = double.consumers.streams
        giving_back = asyncio.create_task(first.nak(delay=60))
        await double.until(lambda: bool(billing.waiting))
        # The kernel has taken the first one back; what it sends now it has sent, for all that is known, before.
        billing.outstanding["orders", 0, 1] = stream
        late = asyncio.create_task(anext(found))
        double.consumers.settling.set()
        await giving_back
        await billing.due()
        assert (await late).offset == 0
        del billing.outstanding["orders", 0, 1]


async def test_terminating_takes_nothing_with_it(bus: Bus, partition: Partition, billing: KnownSubscription) -> None:
    put(partition, "aa")
    async with bus.subscribe("billing") as records:
        found = aiter(records)
        await (await anext(found)).terminate("poison")
        assert (await anext(found)).offset == 1


async def test_batches_take_back_what_follows_too(bus: Bus, partition: Partition, billing: KnownSubscription) -> None:
    put(partition, "abab")
    put(partition, "ab")
    async with bus.subscribe_batches("billing") as batches:
        found = aiter(batches)
        first = await anext(found)
        await first[0].nak(delay=60)
        assert await first.ack()
        assert {offset for _, _, offset in billing.acked} == {1, 3}
        assert (await anext(found)).offsets() == [5]


@pytest.mark.parametrize("seed", range(4))
async def test_keys_keep_their_order_whatever_fails(
    bus: Bus, partition: Partition, billing: KnownSubscription, seed: int
) -> None:
    chance = Random(seed)
    for _ in range(30):
        put(partition, "".join(chance.choice("abcdef-") for _ in range(7)))
    done: dict[bytes, list[int]] = {}

    async def handle(record: Record) -> None:
        async with record:
            await asyncio.sleep(0)
            if record.attempt < 3 and chance.random() < 0.2:
                raise ValueError("not today")
            done.setdefault(record.key, []).append(record.offset)

    async with bus.subscribe("billing", prefetch_records=chance.choice([5, 50, 500])) as records:
        async for record in records:
            with suppress(ValueError):
                await handle(record)
            if sum(map(len, done.values())) == 210:
                break
    assert all(offsets == sorted(offsets) for key, offsets in done.items() if key)
    assert len(billing.acked) == 210


async def test_what_came_after_the_record_was_given_up_is_handed_out(
    double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    """Nobody else would get it."""
    put(partition, "a")
    async with bus.subscribe("billing") as records:
        found = aiter(records)
        double.consumers.settling.clear()
        giving_back = asyncio.create_task((await anext(found)).nak(delay=60))
        await double.until(lambda: bool(billing.waiting))
        billing.waiting.clear()
        billing.terminated["orders", 0, 0] = "too often"
        put(partition, "aa")
        double.consumers.streams[0].early = True
        late = asyncio.create_task(anext(found))
        double.consumers.settling.set()
        await giving_back
        first = await late
        assert (first.offset, first.attempt) == (1, 1)
        async with first:
            pass
        assert (await anext(found)).offset == 2
        assert {place[2] for place in billing.extended} == {1, 2}
