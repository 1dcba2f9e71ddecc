from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from zlib import crc32

import pytest
from sira_client import TopicNotFoundError, UnavailableError, connect_insecure
from sira_client.bus import Ack, Bus, CloudEvent, Producer

from tests.unit.client.bus.bus_double import BusDouble


async def test_an_ack_says_where_the_record_is_and_what_it_survives(double: BusDouble, bus: Bus) -> None:
    double.add_topic("orders")
    async with bus.producer("orders") as producer:
        assert producer.topic == "namespaces/default/topics/orders"
        assert await producer.send(b"one") == Ack(0, 0, "disk", False)
        assert await producer.send(b"two") == Ack(0, 1, "disk", False)


async def test_memory_is_said_to_be_memory(bus: Bus) -> None:
    await bus.topics.create("orders", durability="memory")
    async with bus.producer("orders") as producer:
        assert (await producer.send(b"one")).durability == "memory"


async def test_everything_that_a_record_has_is_sent(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    when = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
    async with bus.producer("orders") as producer:
        plain = await producer.post(b"plain")
        full = producer.send(
            b"full",
            key=b"k",
            id="i",
            headers={"a": "b"},
            content_type="text/plain",
            cloud_event=CloudEvent(source="/s", type="t"),
            event_time=when,
            ttl=1.5,
            deliver_at=when + timedelta(days=1),
        )
        await asyncio.gather(plain, full)
    reader = partition.frames[0].reader
    first, second = reader.record(0), reader.record(1)
    assert (first.payload, first.key, first.id, first.HasField("attributes")) == (b"plain", b"", "", False)
    assert not first.HasField("ttl")
    assert not first.HasField("event_time")
    assert not first.HasField("deliver_at")
    assert (second.payload, second.key, second.id, second.attributes.headers["a"]) == (b"full", b"k", "i", "b")
    assert (second.attributes.content_type, second.attributes.cloud_event.type) == ("text/plain", "t")
    assert second.event_time.ToDatetime(UTC) == when
    assert second.deliver_at.ToDatetime(UTC) == when + timedelta(days=1)
    assert second.ttl.ToMilliseconds() == 1500


async def test_what_all_records_say_is_stored_once(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    async with bus.producer("orders") as producer:
        await asyncio.gather(*[await producer.post(b"x", headers={"a": "b"}) for _ in range(3)])
    frame = partition.frames[0].reader.frame
    assert (frame.common_attributes.headers["a"], len(frame.attributes)) == ("b", 0)


async def test_the_current_trace_goes_along(double: BusDouble, bus: Bus) -> None:
    tracing = pytest.importorskip("opentelemetry.sdk.trace", reason="the client does without OpenTelemetry")
    (partition,) = double.add_topic("orders")
    with tracing.TracerProvider().get_tracer("test").start_as_current_span("publish") as span:
        async with bus.producer("orders") as producer:
            await producer.send(b"x")
        await bus.publish("orders", b"y")
    context = span.get_span_context()
    expected = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    for frame in partition.frames:
        assert frame.reader.attributes(0).trace_context.traceparent == expected


async def test_posted_together_go_in_one_frame(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    async with bus.producer("orders", max_batch_records=10) as producer:
        acks = await asyncio.gather(*[await producer.post(b"%d" % i) for i in range(25)])
    assert [frame.reader.count for frame in partition.frames] == [10, 10, 5]
    assert [ack.offset for ack in acks] == list(range(25))
    assert partition.payloads() == [b"%d" % i for i in range(25)]


async def test_a_frame_is_full_by_bytes_too(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    async with bus.producer("orders", max_batch_bytes=100) as producer:
        await asyncio.gather(*[await producer.post(bytes(40)) for _ in range(5)])
        await producer.send(bytes(500))
        await producer.send_many([bytes(40)] * 5)
    assert [frame.reader.count for frame in partition.frames] == [2, 2, 1, 1, 2, 2, 1]


async def test_a_record_waits_for_others_only_while_something_is_under_way(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    double.answering.clear()
    async with bus.producer("orders", linger=3600) as producer:
        first = await producer.post(b"0")
        await double.until(lambda: len(partition.frames) == 1)
        later = [await producer.post(b"%d" % i) for i in range(1, 4)]
        double.answering.set()
        await first
        assert not any(promise.done() for promise in later)
        await producer.flush()
        assert all(promise.done() for promise in later)
    assert [frame.reader.count for frame in partition.frames] == [1, 3]


async def test_the_linger_ends(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    double.answering.clear()
    async with bus.producer("orders", linger=0.001) as producer:
        promises = [await producer.post(b"0")]
        await double.until(lambda: len(partition.frames) == 1)
        promises += [await producer.post(b"1")]
        await double.until(lambda: len(partition.frames) == 2)
        double.answering.set()
        await asyncio.gather(*promises)


@pytest.mark.parametrize("many", [False, True])
async def test_a_key_decides_the_partition_by_its_checksum(double: BusDouble, bus: Bus, many: bool) -> None:
    partitions = double.add_topic("orders", 4)
    keys = [b"key-%d" % (i % 13) for i in range(50)]
    payloads = [b"%d" % i for i in range(50)]
    async with bus.producer("orders") as producer:
        if many:
            await producer.send_many(payloads, keys=keys, ids=[f"{i}" for i in range(50)])
        else:
            await asyncio.gather(*[await producer.post(p, key=k) for p, k in zip(payloads, keys, strict=True)])
    for number, partition in enumerate(partitions):
        expected = [p for p, k in zip(payloads, keys, strict=True) if crc32(k) % 4 == number]
        assert partition.payloads() == expected


async def test_records_without_a_key_go_round_frame_by_frame(double: BusDouble, bus: Bus) -> None:
    partitions = double.add_topic("orders", 3)
    async with bus.producer("orders", max_batch_records=4) as producer:
        await asyncio.gather(*[await producer.post(b"x") for _ in range(12)])
        acks = await producer.send_many([b"y"] * 12)
    assert [[frame.reader.count for frame in p.frames] for p in partitions] == [[4, 4]] * 3
    assert sorted(ack.partition for ack in acks) == [0, 1, 2]
    assert all((ack.records, ack.offset) == (4, 4) for ack in acks)


async def test_many_come_after_what_was_posted_before_them(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    async with bus.producer("orders", linger=3600) as producer:
        for i in range(0, 30, 10):
            await producer.post(b"%d" % i)
            await producer.post_many([b"%d" % j for j in range(i + 1, i + 10)])
    assert partition.payloads() == [b"%d" % i for i in range(30)]


async def test_nothing_is_nothing(double: BusDouble, bus: Bus) -> None:
    double.add_topic("orders")
    async with bus.producer("orders") as producer:
        assert await producer.send_many([]) == []
        await producer.flush()


@pytest.mark.parametrize("compression", ["zstd", "lz4", None])
async def test_payloads_are_compressed_as_asked(double: BusDouble, bus: Bus, compression: str | None) -> None:
    (partition,) = double.add_topic("orders")
    async with bus.producer("orders", compression=compression) as producer:  # type: ignore[arg-type]  # it is one of the names
        await producer.send_many([b"the same again"] * 100)
    assert partition.payloads() == [b"the same again"] * 100
    assert (len(partition.frames[0].data) < 1000) == (compression is not None)


async def test_whoever_is_faster_than_the_kernel_waits(double: BusDouble, bus: Bus) -> None:
    double.add_topic("orders")
    double.answering.clear()
    async with bus.producer("orders", buffer_bytes=1000) as producer:
        promises = [await producer.post(bytes(400)), await producer.post(bytes(400))]
        third = asyncio.create_task(producer.send(bytes(400)))
        fourth = asyncio.create_task(producer.send_many([bytes(10)]))
        await double.until(lambda: bool(double.frames))
        assert not third.done()
        assert not fourth.done()
        double.answering.set()
        await asyncio.gather(*promises, third, fourth)
    assert double.partitions[producer.topic][0].payloads()[-1] == bytes(10)


async def test_frames_are_sent_ahead_up_to_the_window(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    double.answering.clear()
    async with bus.producer("orders", max_in_flight=1, max_batch_records=1) as producer:
        promises = await producer.post_many([b"1", b"2", b"3"])
        await double.until(lambda: len(partition.frames) == 1)
        double.answering.set()
        await asyncio.gather(*promises)
    assert len(partition.frames) == 3


async def test_giving_up_waiting_does_not_take_the_record_back(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    double.answering.clear()
    async with bus.producer("orders") as producer:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await producer.send(b"x")
        double.answering.set()
    assert partition.payloads() == [b"x"]


async def test_giving_up_waiting_for_room_does(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    double.answering.clear()
    async with bus.producer("orders", buffer_bytes=100) as producer:
        await producer.post(bytes(100))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await producer.send(b"x")
        double.answering.set()
        await producer.send(b"y")
    assert partition.payloads() == [bytes(100), b"y"]


async def test_a_topic_that_is_not_there(bus: Bus) -> None:
    with pytest.raises(TopicNotFoundError):
        async with bus.producer("nothing"):
            pass


async def test_a_kernel_that_is_not_there_yet_is_waited_for(double: BusDouble, bus: Bus) -> None:
    double.add_topic("orders")
    await double.stop()

    async def publish() -> Ack:
        async with bus.producer("orders") as producer:
            return await producer.send(b"x")

    publishing = asyncio.create_task(publish())
    await double.start()
    assert (await publishing).offset == 0


async def test_a_kernel_that_does_not_come_is_not(double: BusDouble, bus: Bus) -> None:
    await double.stop()
    with pytest.raises(UnavailableError):
        async with bus.producer("orders", timeout=0):
            pass


async def test_only_an_open_producer_sends(double: BusDouble, bus: Bus) -> None:
    double.add_topic("orders")
    producer = bus.producer("orders")
    with pytest.raises(RuntimeError, match="async with"):
        await producer.send(b"x")
    async with producer:
        assert not producer.closed
    assert producer.closed
    with pytest.raises(RuntimeError, match="async with"):
        await producer.send(b"x")
    with pytest.raises(RuntimeError, match="once"):
        async with producer:
            pass


async def test_the_end_sends_what_is_left(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    async with bus.producer("orders", linger=3600) as producer:
        promises = [await producer.post(b"%d" % i) for i in range(3)]
    assert [(await promise).offset for promise in promises] == [0, 1, 2]
    assert partition.end == 3


async def test_what_is_not_acknowledged_at_the_end_fails(double: BusDouble, bus: Bus) -> None:
    double.add_topic("orders")
    double.answering.clear()
    async with bus.producer("orders", timeout=0.01, buffer_bytes=100) as producer:
        promise = await producer.post(bytes(100))
        waiting = asyncio.create_task(producer.send(b"y"))
        await double.until(lambda: bool(double.frames))
    with pytest.raises(UnavailableError, match="closed"):
        await promise
    with pytest.raises(UnavailableError, match="closed"):
        await waiting


async def test_the_client_closes_its_producers(double: BusDouble) -> None:
    double.add_topic("orders")
    async with connect_insecure(double.address) as client:
        producer: Producer = await client.bus().producer("orders").__aenter__()
        promise = await producer.post(b"x")
    assert producer.closed
    assert (await promise).offset == 0


async def test_publish_is_unary(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    when = datetime(2026, 1, 2, tzinfo=UTC)
    ack = await bus.publish(
        "orders", b"x", key=b"k", headers={"a": "b"}, ttl=1, id="i", event_time=when, deliver_at=when
    )
    assert ack == Ack(0, 0, "disk", False)
    record = partition.frames[0].reader.record(0)
    assert (record.payload, record.key, record.id, record.attributes.headers["a"]) == (b"x", b"k", "i", "b")
    assert record.event_time.ToDatetime(UTC) == record.deliver_at.ToDatetime(UTC) == when
    with pytest.raises(TopicNotFoundError):
        await bus.publish("nothing", b"x")
