"""What becomes of records that are held when time passes, frames are damaged and streams are lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import grpc
import pytest
from sira.bus.v1 import record_pb2
from sira_client import PermissionDeniedError, SubscriptionNotFoundError, connect_insecure
from sira_client.bus import Bus
from sira_client.bus.consuming import RecordConsumer
from sira_client.frames import pack

from tests.unit.client.bus.bus_double import BusDouble
from tests.unit.client.bus.conftest import SteppedClock
from tests.unit.client.bus.consuming import asked, fill, offsets
from tests.unit.client.bus.partitions import Partition
from tests.unit.client.bus.streams import KnownSubscription
from tests.unit.client.failure import Failure


async def test_held_records_are_extended_before_their_time_is_over(
    double: BusDouble, bus: Bus, partition: Partition
) -> None:
    billing = double.add_subscription("slow", ack_timeout=timedelta(milliseconds=100))
    fill(partition, 3)
    async with bus.subscribe("slow") as records:
        found = aiter(records)
        first = await anext(found)
        await double.until(lambda: {offset for _, _, offset in billing.extended} == {0, 1, 2})
        await first.ack()
        billing.extended.clear()
        await double.until(lambda: len(billing.extended) >= 4)
        assert {offset for _, _, offset in billing.extended} == {1, 2}
        for request in asked(double.consumers.streams[0], "settle"):
            for settlement in request.settle.settlements:
                assert not settlement.extend.HasField("timeout")


async def test_a_consumer_that_does_not_come_to_its_records_gives_them_back(
    double: BusDouble, bus: Bus, partition: Partition
) -> None:
    billing = double.add_subscription("slow", ack_timeout=timedelta(milliseconds=100))
    fill(partition, 3)
    async with bus.subscribe("slow", lease=0.05, prefetch_records=3) as records:
        found = aiter(records)
        first = await anext(found)
        await double.until(lambda: len(billing.details) == 2)
        assert ("orders", 0, 0) in billing.outstanding
        assert await first.ack()
        assert (await anext(found)).attempt == 2


async def test_what_is_taken_away_while_it_waits_is_not_handed_out(
    double: BusDouble, bus: Bus, partition: Partition
) -> None:
    billing = double.add_subscription("slow", ack_timeout=timedelta(milliseconds=100))
    fill(partition, 3)
    async with bus.subscribe("slow", prefetch_records=4) as records:
        found = aiter(records)
        await anext(found)
        billing.lose(1)
        await double.until(lambda: ("orders", 0, 2) in billing.extended)
        (stream,) = double.consumers.streams
        count = len(asked(stream, "settle"))
        await double.until(lambda: len(asked(stream, "settle")) > count)
        assert (await anext(found)).offset == 2


async def test_what_expires_while_it_waits_is_not_handed_out(
    double: BusDouble, bus: Bus, clock: SteppedClock, partition: Partition, billing: KnownSubscription
) -> None:
    records = [record_pb2.Record(payload=b"%d" % i) for i in range(4)]
    records[1].ttl.FromSeconds(60)
    records[2].ttl.FromSeconds(600)
    partition.append(pack(records))
    async with bus.subscribe("billing") as consumer:
        found = aiter(consumer)
        await anext(found)
        clock.ahead_ns = 120 * 10**9
        billing.acked.add(("orders", 0, 1))
        assert [(await anext(found)).offset for _ in range(2)] == [2, 3]


async def test_a_clock_that_is_wrong_holds_nothing_up(
    bus: Bus, clock: SteppedClock, partition: Partition, billing: KnownSubscription
) -> None:
    record = record_pb2.Record(payload=b"x")
    record.ttl.FromSeconds(60)
    partition.append(pack([record]))
    clock.ahead_ns = 3600 * 10**9
    async with bus.subscribe("billing") as consumer:
        assert (await anext(aiter(consumer))).payload == b"x"


async def test_a_damaged_frame_is_never_handed_out(
    double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    fill(partition, 20)
    double.consumers.damage = 1
    async with bus.subscribe("billing") as records:
        found = aiter(records)
        taken = [await anext(found) for _ in range(20)]
        assert sorted(int(record.payload) for record in taken) == list(range(20))
        assert "checksum" in billing.details[0]
        assert len(double.consumers.streams) == 2
        assert double.consumers.streams[0].half_closed


async def test_a_frame_that_cannot_be_read_is_given_back(
    double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    fill(partition, 3)
    (stored,) = partition.frames
    good, stored.data = stored.data, b"\xff"
    async with bus.subscribe("billing") as records:
        waiting = asyncio.create_task(anext(aiter(records)))
        await double.until(lambda: bool(billing.details))
        stored.data = good
        assert (await waiting).attempt > 1
        assert "not a serialized frame" in billing.details[0]


async def test_a_lost_stream_is_opened_again(
    double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    fill(partition, 20)
    async with bus.subscribe("billing") as records:
        found = aiter(records)
        kept = await anext(found)
        async with await anext(found):
            pass
        await double.until(lambda: offsets(billing) == {1})
        await double.stop()
        await double.start()
        await double.until(lambda: len(double.consumers.streams) == 2)
        rest = [await anext(found) for _ in range(19)]
        assert [record.offset for record in rest] == [0, *range(2, 20)]
        assert not await kept.ack()
        assert not await kept.extend(1)
        assert await rest[0].ack()


async def test_an_ack_under_way_when_the_stream_is_lost_is_not_known_to_count(
    double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    fill(partition, 1)
    double.consumers.settling.clear()
    async with bus.subscribe("billing") as records:
        record = await anext(aiter(records))
        acking = asyncio.create_task(record.ack())
        await double.until(lambda: offsets(billing) == {0})
        await double.stop()
        assert await acking is False
        double.consumers.settling.set()
        await double.start()


@pytest.mark.parametrize("heard", [False, True])
async def test_a_subscription_that_is_not_there(
    double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription, heard: bool
) -> None:
    found = aiter(bus.subscribe("billing" if heard else "nothing"))
    if heard:
        fill(partition, 1)
        await anext(found)
        double.failures["consuming"].append(Failure(grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND"))
        await double.drop_streams()
        await double.notify()
    with pytest.raises(SubscriptionNotFoundError):
        await anext(found)


async def test_a_refusal_is_told(double: BusDouble, bus: Bus, billing: KnownSubscription) -> None:
    double.failures["Subscribe"].append(Failure(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"))
    with pytest.raises(PermissionDeniedError):
        await anext(aiter(bus.subscribe("billing")))


async def test_what_may_pass_is_tried_again(
    double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    fill(partition, 1)
    double.failures["Subscribe"].extend([Failure(grpc.StatusCode.UNAVAILABLE, retry_after_ms=1)] * 3)
    async with bus.subscribe("billing") as records:
        assert (await anext(aiter(records))).payload == b"0"


async def test_a_consumer_is_iterated_over_once(bus: Bus, partition: Partition, billing: KnownSubscription) -> None:
    consumer = bus.subscribe("billing", consumer="me")
    async with consumer:
        aiter(consumer)
        with pytest.raises(RuntimeError, match="once"):
            aiter(consumer)
    assert consumer.closed
    with pytest.raises(RuntimeError, match="ended"):
        async with consumer:
            pass
    with pytest.raises(RuntimeError, match="once"):
        aiter(consumer)


async def test_the_iteration_ends_with_the_consumer(bus: Bus, partition: Partition, billing: KnownSubscription) -> None:
    async with bus.subscribe("billing") as consumer:
        waiting = asyncio.create_task(anext(aiter(consumer)))
        await asyncio.sleep(0)
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_the_client_closes_its_consumers(double: BusDouble, billing: KnownSubscription) -> None:
    async with connect_insecure(double.address) as client:
        consumer: RecordConsumer = client.bus().subscribe("billing")
        unused = client.bus().subscribe("billing")
        waiting = asyncio.create_task(anext(aiter(consumer)))
        await double.until(lambda: bool(double.consumers.streams))
    assert consumer.closed
    assert unused.closed
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_closing_does_not_wait_for_a_kernel_that_is_away(double: BusDouble, bus: Bus) -> None:
    await double.stop()
    async with bus.subscribe("billing") as consumer:
        waiting = asyncio.create_task(anext(aiter(consumer)))
        await asyncio.sleep(0)
    with pytest.raises(StopAsyncIteration):
        await waiting
