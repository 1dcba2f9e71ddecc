"""Producers and consumers move to the next connection when theirs is replaced, and lose nothing."""

from __future__ import annotations

import asyncio

from sira_client import Client
from sira_client.bus import Bus
from sira_client.frames import pack_columns

from tests.unit.client.bus.bus_double import BusDouble


def replace(client: Client) -> None:
    """Does what a renewed identity does."""
    link = client._link
    old = link.members[0]
    link.members[0] = link._open(old.address)
    old.replaced.set_result(None)


async def test_a_producer_finishes_on_the_old_one(double: BusDouble, bus_client: Client, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    double.answering.clear()
    async with bus.producer("orders", max_batch_records=1) as producer:
        promises = await producer.post_many([b"0", b"1"])
        await double.until(lambda: len(partition.frames) == 2)
        replace(bus_client)
        promises += await producer.post_many([b"2"])
        await asyncio.sleep(0)
        assert len(partition.frames) == 2
        double.answering.set()
        acks = await asyncio.gather(*promises)
    assert partition.payloads() == [b"0", b"1", b"2"]
    assert not any(ack.duplicate for ack in acks)


async def test_an_idle_producer_moves(double: BusDouble, bus_client: Client, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    async with bus.producer("orders") as producer:
        for number in range(3):
            await producer.send(b"%d" % number)
            replace(bus_client)
    assert partition.payloads() == [b"0", b"1", b"2"]


async def test_a_consumer_settles_on_the_old_one_what_came_there(
    double: BusDouble, bus_client: Client, bus: Bus
) -> None:
    (partition,) = double.add_topic("orders")
    billing = double.add_subscription("billing")
    partition.append(pack_columns([b"%d" % i for i in range(10)]))
    async with bus.subscribe("billing", prefetch_records=10) as records:
        found = aiter(records)
        first = await anext(found)
        replace(bus_client)
        await double.until(lambda: len(double.consumers.streams) == 2)
        partition.append(pack_columns([b"%d" % i for i in range(10, 20)]))
        rest = [await anext(found) for _ in range(9)]
        assert await first.ack()
        assert all(await asyncio.gather(*[record.ack() for record in rest]))
        await double.until(lambda: double.consumers.streams[0].ended)
        assert double.consumers.streams[0].half_closed
        await double.notify()
        for _ in range(10):
            async with await anext(found):
                pass
    assert len(billing.acked) == 20
    assert set(billing.attempts.values()) == {1}


async def test_a_tail_goes_on_on_the_new_one(double: BusDouble, bus_client: Client, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    partition.append(pack_columns([b"%d" % i for i in range(10)]))
    async with bus.tail("orders", start="earliest") as records:
        found = aiter(records)
        await anext(found)
        replace(bus_client)
        await double.until(lambda: len(double.consumers.streams) == 2)
        assert [(await anext(found)).offset for _ in range(9)] == list(range(1, 10))
