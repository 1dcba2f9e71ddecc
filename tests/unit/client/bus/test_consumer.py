from __future__ import annotations

import asyncio
import gc
from datetime import UTC, datetime, timedelta

import pytest
from sira.bus.v1 import record_pb2
from sira.bus.v1.record_pb2 import Attributes, CloudEvent, TraceContext
from sira_client.bus import Bus, Record
from sira_client.frames import pack

from tests.unit.client.bus.bus_double import BusDouble
from tests.unit.client.bus.consuming import asked, fill, offsets
from tests.unit.client.bus.partitions import Partition
from tests.unit.client.bus.streams import KnownSubscription


async def test_a_record_has_everything(bus: Bus, partition: Partition, billing: KnownSubscription) -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    attributes = Attributes(
        headers={"a": "b"},
        content_type="text/plain",
        cloud_event=CloudEvent(source="/s"),
        trace_context=TraceContext(traceparent="00-1-2-03"),
    )
    full = record_pb2.Record(id="i", key=b"k", payload=b"full", attributes=attributes)
    full.event_time.FromDatetime(when)
    partition.append(pack([full, record_pb2.Record(payload=b"plain")]))
    async with bus.subscribe("billing") as records:
        found = aiter(records)
        first, second = await anext(found), await anext(found)
        assert (first.payload, first.key, first.id, first.headers) == (b"full", b"k", "i", {"a": "b"})
        assert (first.topic, first.partition, first.offset, first.attempt) == ("orders", 0, 0, 1)
        assert (first.content_type, first.event_time, first.attributes) == ("text/plain", when, attributes)
        assert first.cloud_event == attributes.cloud_event
        assert first.trace_context == attributes.trace_context
        assert abs(datetime.now(UTC) - first.publish_time) < timedelta(minutes=1)
        assert (second.payload, second.key, second.id, second.headers) == (b"plain", b"", "", {})
        assert (second.cloud_event, second.trace_context, second.event_time) == (None, None, second.publish_time)
        assert repr(second) == "<Record orders/0@1>"


async def test_leaving_the_block_acks(bus: Bus, partition: Partition, billing: KnownSubscription) -> None:
    fill(partition, 35)
    found = []
    async for record in bus.subscribe("billing"):
        async with record:
            found.append(int(record.payload))
        if len(found) == 35:
            break
    gc.collect()
    assert found == list(range(35))


async def test_the_end_of_the_iteration_settles_and_half_closes(
    double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    fill(partition, 30)
    async for record in bus.subscribe("billing"):
        async with record:
            pass
        if record.offset == 14:
            break
    (stream,) = double.consumers.streams
    await double.until(lambda: stream.ended)
    assert stream.half_closed
    assert offsets(billing) == set(range(15))
    assert not billing.outstanding
    again = aiter(bus.subscribe("billing"))
    assert (await anext(again)).offset == 15
    await again.aclose()


async def test_an_exception_gives_the_record_back_and_goes_on(
    double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    fill(partition, 3)
    attempts = []
    async with bus.subscribe("billing") as records:
        async for record in records:
            try:
                async with record:
                    if record.offset == 1 and record.attempt < 3:
                        raise ValueError("not today")
            except ValueError:
                attempts.append(record.attempt)
            if record.attempt == 3:
                break
    assert attempts == [1, 2]
    assert billing.details == ["ValueError: not today"] * 2
    assert offsets(billing) == {0, 1, 2}


async def test_a_block_that_is_cancelled_says_nothing(
    double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    fill(partition, 1)
    async with bus.subscribe("billing") as records:
        record = await anext(aiter(records))
        with pytest.raises(asyncio.CancelledError):
            async with record:
                raise asyncio.CancelledError
        assert not asked(double.consumers.streams[0], "settle")
        assert billing.outstanding
        assert await record.ack()


async def test_settling_by_hand(double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription) -> None:
    fill(partition, 4)
    async with bus.subscribe("billing") as records:
        found = aiter(records)
        first, second, third, fourth = [await anext(found) for _ in range(4)]
        assert await first.ack()
        assert offsets(billing) == {0}
        assert await second.nak(delay=60, detail="later" * 1000)
        assert billing.waiting == {("orders", 0, 1)}
        assert billing.details == [("later" * 1000)[:1024]]
        assert await third.terminate("broken")
        assert billing.terminated == {("orders", 0, 2): "broken"}
        assert await fourth.extend(60)
        assert billing.extended == [("orders", 0, 3)]
        async with fourth:
            assert await fourth.nak()
        for settled in (first, second, third, fourth):
            with pytest.raises(RuntimeError, match="settled"):
                await settled.ack()
        assert not await fourth.extend(1)
        for wrong in (-1, float("nan")):
            with pytest.raises(ValueError, match="delay"):
                await first.nak(delay=wrong)


async def test_what_is_not_with_the_consumer_any_more_does_not_count(
    bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    fill(partition, 2)
    async with bus.subscribe("billing") as records:
        found = aiter(records)
        first, second = await anext(found), await anext(found)
        billing.lose(0)
        assert [await first.ack(), await second.ack()] == [False, True]


async def test_acks_are_gathered_into_ranges(
    double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    fill(partition, 100)
    double.consumers.settling.clear()
    async with bus.subscribe("billing") as records:
        found = aiter(records)
        taken = [await anext(found) for _ in range(100)]
        acks = [asyncio.create_task(taken[0].ack())]
        await double.until(lambda: 0 in offsets(billing))
        acks += [asyncio.create_task(record.ack()) for record in reversed(taken[1:])]
        await asyncio.sleep(0)
        double.consumers.settling.set()
        assert all(await asyncio.gather(*acks))
        _, second = asked(double.consumers.streams[0], "settle")
        (settlement,) = second.settle.settlements
        assert [(one.first, one.end) for one in settlement.ranges] == [(1, 100)]


async def test_leaving_the_block_waits_only_if_asked(
    double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    fill(partition, 2)
    double.consumers.settling.clear()
    async with bus.subscribe("billing") as records:
        async with await anext(aiter(records)):
            pass
        double.consumers.settling.set()
    double.consumers.settling.clear()
    async with bus.subscribe("billing", sync_acks=True) as records:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), await anext(aiter(records)):
                pass
        double.consumers.settling.set()


async def test_credit_is_given_as_records_are_consumed(
    double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    fill(partition, 100)
    async with bus.subscribe("billing", prefetch_records=20) as records:
        found = aiter(records)
        await anext(found)
        (stream,) = double.consumers.streams
        await double.until(lambda: len(billing.outstanding) == 20)
        assert [request.credit.records for request in asked(stream, "credit")] == [20]
        for _ in range(60):
            await anext(found)
        assert 60 <= len(billing.outstanding) <= 80
        assert all(request.credit.records >= 10 for request in asked(stream, "credit"))


async def test_credit_is_counted_in_bytes_too(
    double: BusDouble, bus: Bus, partition: Partition, billing: KnownSubscription
) -> None:
    fill(partition, 100)
    async with bus.subscribe("billing", prefetch_bytes=1) as records:
        found = aiter(records)
        await anext(found)
        assert len(billing.outstanding) == 10
        assert [(await anext(found)).offset for _ in range(99)] == list(range(1, 100))


async def test_no_more_than_so_many_are_in_hand(bus: Bus, partition: Partition, billing: KnownSubscription) -> None:
    fill(partition, 50)
    busy = most = 0

    async def handle(record: Record) -> None:
        nonlocal busy, most
        async with record:
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0)
            busy -= 1

    async with bus.subscribe("billing", concurrency=4) as records, asyncio.TaskGroup() as tasks:
        async for record in records:
            tasks.create_task(handle(record))
            if record.offset == 49:
                break
    assert most == 4
    assert offsets(billing) == set(range(50))


@pytest.mark.parametrize(
    "options",
    [
        {"prefetch_records": 0},
        {"prefetch_records": 1_000_001},
        {"prefetch_bytes": 0},
        {"prefetch_bytes": 1 << 31},
        {"concurrency": 0},
        {"lease": 0},
    ],
)
def test_options_out_of_range(bus: Bus, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        bus.subscribe("billing", **options)  # type: ignore[arg-type]  # that is what is tested
