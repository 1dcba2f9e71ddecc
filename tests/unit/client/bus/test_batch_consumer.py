from __future__ import annotations

import asyncio

import pytest
from sira.bus.v1 import record_pb2
from sira_client.bus import Batch, Bus
from sira_client.frames import pack, pack_columns

from tests.unit.client.bus.bus_double import BusDouble
from tests.unit.client.bus.conftest import SteppedClock
from tests.unit.client.bus.partitions import Partition
from tests.unit.client.bus.streams import KnownSubscription


def fill(partition: Partition, frames: int) -> None:
    for number in range(frames):
        payloads = [b"%d" % (number * 10 + i) for i in range(10)]
        partition.append(pack_columns(payloads, keys=[b"k%d" % (i % 3) for i in range(10)]))


def settled(billing: KnownSubscription) -> set[int]:
    return {offset for _, _, offset in billing.acked}


async def test_a_batch_is_a_frame(bus: Bus, partition: Partition, billing: KnownSubscription) -> None:
    fill(partition, 1)
    async with bus.subscribe_batches("billing") as batches:
        batch = await anext(aiter(batches))
        assert (batch.topic, batch.partition, batch.attempt, len(batch)) == ("orders", 0, 1, 10)
        assert batch.payloads() == [record.payload for record in batch] == [b"%d" % i for i in range(10)]
        assert batch.keys() == [record.key for record in batch]
        assert batch.offsets() == [record.offset for record in batch] == list(range(10))
        assert [record.payload for record in batch[8:]] == [b"8", b"9"]
        assert batch[-1].payload == b"9"


async def test_leaving_the_block_acks_all_of_it_as_one_range(
    double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    fill(partition, 20)
    found: list[bytes] = []
    async with bus.subscribe_batches("billing", sync_acks=True) as batches:
        async for batch in batches:
            async with batch:
                found += batch.payloads()
            if len(found) == 200:
                break
    assert found == partition.payloads()
    assert settled(billing) == set(range(200))
    for request in double.consumers.streams[0].requests:
        for settlement in request.settle.settlements:
            assert len(settlement.ranges) == 1


async def test_an_exception_gives_all_of_it_back(bus: Bus, partition: Partition, billing: KnownSubscription) -> None:
    fill(partition, 1)
    async with bus.subscribe_batches("billing") as batches:
        found = aiter(batches)
        first = await anext(found)
        await first[0].ack()
        with pytest.raises(ValueError, match="not today"):
            async with first:
                raise ValueError("not today")
        second = await anext(found)
        assert (second.attempt, second.offsets()) == (2, list(range(1, 10)))
        assert second.payloads() == [b"%d" % i for i in range(1, 10)]
        assert set(billing.details) == {"ValueError: not today"}
        async with second:
            pass
    assert settled(billing) == set(range(10))


async def test_a_block_that_is_cancelled_says_nothing(
    bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    fill(partition, 1)
    async with bus.subscribe_batches("billing") as batches:
        batch = await anext(aiter(batches))
        with pytest.raises(asyncio.CancelledError):
            async with batch:
                raise asyncio.CancelledError
    assert not billing.acked
    assert not billing.details


async def test_settling_by_hand(double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription) -> None:
    fill(partition, 4)
    async with bus.subscribe_batches("billing") as batches:
        found = aiter(batches)
        first, second, third, fourth = [await anext(found) for _ in range(4)]
        assert await first[3].terminate("broken")
        assert await first.ack()
        assert settled(billing) == set(range(10)) - {3}
        assert await first.ack()  # there is nothing left
        assert await second.nak(delay=60, detail="later")
        assert {offset for _, _, offset in billing.waiting} == set(range(10, 20))
        assert await third.terminate("all broken")
        assert len(billing.terminated) == 11
        assert await fourth.extend(60)
        assert {offset for _, _, offset in billing.extended} == set(range(30, 40))
        billing.lose(35)
        assert not await fourth.ack()
        with pytest.raises(ValueError, match="delay"):
            await second.nak(delay=-1)


async def test_a_lost_stream(double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription) -> None:
    fill(partition, 2)
    async with bus.subscribe_batches("billing") as batches:
        found = aiter(batches)
        kept = await anext(found)
        await double.stop()
        await double.start()
        await double.until(lambda: len(double.consumers.streams) == 2)
        again: list[Batch] = [await anext(found), await anext(found)]
        assert not await kept.ack()
        assert not await kept.extend(1)
        async with kept:
            pass
        assert [batch.offsets()[0] for batch in again] == [0, 10]
        assert await again[0].ack()


async def test_what_expired_is_left_out(
    double: BusDouble, bus: Bus, clock: SteppedClock, partition: Partition, billing: KnownSubscription
) -> None:
    fill(partition, 1)
    records = [record_pb2.Record(payload=b"%d" % i) for i in range(3)]
    records[1].ttl.FromSeconds(60)
    partition.append(pack(records))
    async with bus.subscribe_batches("billing") as batches:
        found = aiter(batches)
        await anext(found)
        await double.until(lambda: len(billing.outstanding) == 13)
        for _ in range(10):  # it has to arrive with the clock as it is
            await asyncio.sleep(0.001)
        clock.ahead_ns = 120 * 10**9
        billing.acked.add(("orders", 0, 11))
        assert (await anext(found)).payloads() == [b"0", b"2"]


async def test_credit_is_given_back(
    double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    fill(partition, 30)
    async with bus.subscribe_batches("billing", prefetch_records=15) as batches:
        found: list[int] = []
        async for batch in batches:
            async with batch:
                found += batch.offsets()
            if len(found) == 300:
                break
    assert sorted(found) == list(range(300))
