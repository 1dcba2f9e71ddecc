from __future__ import annotations

import asyncio
import gc
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from sira.bus.v1 import record_pb2
from sira.bus.v1.record_pb2 import Attributes, CloudEvent, TraceContext
from sira.bus.v1.subscription_service_pb2 import SubscribeRequest
from sira_client import PermissionDeniedError, SubscriptionNotFoundError, connect_insecure
from sira_client.bus import Bus, Record
from sira_client.bus.consuming import RecordConsumer
from sira_client.frames import pack, pack_columns

from tests.unit.client.bus.bus_double import BusDouble
from tests.unit.client.bus.conftest import SteppedClock
from tests.unit.client.bus.partitions import Partition
from tests.unit.client.bus.streams import ConsumerStream, KnownSubscription
from tests.unit.client.failure import Failure


@pytest.fixture
def partition(double: BusDouble) -> Partition:
    return double.add_topic("orders")[0]


@pytest.fixture
def billing(double: BusDouble, partition: Partition) -> KnownSubscription:
    return double.add_subscription("billing")


def fill(partition: Partition, count: int, each: int = 10) -> None:
    for first in range(0, count, each):
        partition.append(pack_columns([b"%d" % i for i in range(first, min(count, first + each))]))


def offsets(billing: KnownSubscription) -> set[int]:
    return {offset for _, _, offset in billing.acked}


def asked(stream: ConsumerStream, what: str) -> list[SubscribeRequest]:
    return [request for request in stream.requests if request.WhichOneof("action") == what]


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
