"""What becomes of records when connections, kernels and frames fail: none is there twice, none is reordered."""

from __future__ import annotations

import asyncio
from random import Random
from zlib import crc32

import grpc
import pytest
from sira.bus.v1.publish_service_pb2 import PublishFramesRequest
from sira_client import (
    InvalidArgumentError,
    PermissionDeniedError,
    SequenceGapError,
    SiraError,
    TopicFullError,
    TopicNotFoundError,
)
from sira_client.bus import Ack, Bus
from sira_client.frames import FrameReader

from tests.unit.client.bus.bus_double import BusDouble
from tests.unit.client.failure import Failure

FULL = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOPIC_FULL")
INVALID = Failure(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


def numbers(count: int, start: int = 0) -> list[bytes]:
    return [b"%d" % i for i in range(start, start + count)]


def holds(request: PublishFramesRequest, payload: bytes) -> bool:
    return payload in FrameReader(request.frame).payloads()


async def outcomes(promises: list[asyncio.Future[Ack]]) -> list[Ack | BaseException]:
    return await asyncio.gather(*promises, return_exceptions=True)


@pytest.mark.parametrize("cut", [1, 2, 5])
async def test_what_was_stored_and_not_answered_is_not_stored_twice(double: BusDouble, bus: Bus, cut: int) -> None:
    (partition,) = double.add_topic("orders")
    double.cut = cut
    async with bus.producer("orders", max_batch_records=2) as producer:
        acks = await producer.send_many(numbers(20))
    assert partition.payloads() == numbers(20)
    assert [ack.offset for ack in acks] == list(range(0, 20, 2))
    assert any(ack.duplicate for ack in acks)


async def test_a_kernel_that_is_away_for_a_while_is_waited_for(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    async with bus.producer("orders", max_batch_records=3) as producer:
        await producer.send_many(numbers(10))
        await double.stop()
        promises = await producer.post_many(numbers(10, 10))
        promises += [await producer.post(payload) for payload in numbers(10, 20)]
        await double.start()
        await asyncio.gather(*promises)
    assert partition.payloads() == numbers(30)


async def test_nothing_is_lost_twice_or_out_of_order_however_often_the_stream_breaks(
    double: BusDouble, bus: Bus
) -> None:
    partitions = double.add_topic("orders", 3)
    chance = Random(3)
    keys = [b"k%d" % (i % 11) for i in range(600)]
    async with bus.producer("orders", max_batch_records=7, linger=0) as producer:
        promises = []
        for number, key in enumerate(keys):
            promises.append(await producer.post(b"%d" % number, key=key))
            if not number % 20:
                double.cut = chance.randrange(1, 6)
                await asyncio.sleep(0)
        acks = await asyncio.gather(*promises)
    for place, partition in enumerate(partitions):
        assert partition.payloads() == [b"%d" % n for n, key in enumerate(keys) if crc32(key) % 3 == place]
    for number, ack in enumerate(acks):
        assert partitions[ack.partition].payloads()[ack.offset] == b"%d" % number


@pytest.mark.parametrize("failure", [FULL, INVALID, Failure(grpc.StatusCode.DATA_LOSS)])
async def test_a_frame_that_is_refused_fails_alone(double: BusDouble, bus: Bus, failure: Failure) -> None:
    (partition,) = double.add_topic("orders")
    double.refuse = lambda request: failure if holds(request, b"13") else None
    async with bus.producer("orders", max_batch_records=5) as producer:
        found = await outcomes(await producer.post_many(numbers(30)))
    assert [isinstance(one, SiraError) for one in found] == [False, False, True, False, False, False]
    assert partition.payloads() == numbers(10) + numbers(15, 15)
    assert [one.offset for one in found if isinstance(one, Ack)] == [0, 5, 10, 15, 20]


async def test_which_frame_is_refused_is_said_by_its_reason(double: BusDouble, bus: Bus) -> None:
    double.add_topic("orders")
    double.refuse = lambda request: FULL if holds(request, b"1") else INVALID if holds(request, b"2") else None
    async with bus.producer("orders", max_batch_records=1) as producer:
        found = await outcomes([await producer.post(payload) for payload in numbers(4)])
    assert [type(one) for one in found] == [Ack, TopicFullError, InvalidArgumentError, Ack]


async def test_every_record_of_a_refused_frame_is_told(double: BusDouble, bus: Bus) -> None:
    double.add_topic("orders")
    double.refuse = lambda _: FULL
    async with bus.producer("orders") as producer:
        found = await outcomes([await producer.post(payload) for payload in numbers(4)])
        assert all(isinstance(one, TopicFullError) for one in found)
        double.refuse = lambda _: None
        assert (await producer.send(b"x")).offset == 0


async def test_refused_frames_of_several_partitions(double: BusDouble, bus: Bus) -> None:
    """Those of other partitions that were sent after them may be stored already, and are not stored again."""
    partitions = double.add_topic("orders", 4)
    refused = {b"%d" % number for number in range(0, 100, 9)}
    double.refuse = lambda request: FULL if refused & set(FrameReader(request.frame).payloads()) else None
    keys = [b"key-%d" % (i % 17) for i in range(100)]
    async with bus.producer("orders", max_batch_records=2) as producer:
        promises = [await producer.post(payload, key=k) for payload, k in zip(numbers(100), keys, strict=True)]
        found = await outcomes(promises)
    taken = [number for number, one in enumerate(found) if isinstance(one, Ack)]
    for place, partition in enumerate(partitions):
        assert partition.payloads() == [b"%d" % n for n in taken if crc32(keys[n]) % 4 == place]


async def test_a_kernel_that_has_forgotten_the_producer_is_begun_anew_with(double: BusDouble, bus: Bus) -> None:
    (partition,) = double.add_topic("orders")
    async with bus.producer("orders") as producer:
        await producer.send_many(numbers(10))
        await double.stop()
        partition.frames.clear()  # it was in memory
        partition.sent.clear()
        await double.start()
        acks = await producer.send_many(numbers(10, 10))
        await producer.send_many(numbers(10, 20))
    assert acks[0].offset == 0
    assert partition.payloads() == numbers(20, 10)
    assert list(partition.sent.values())[-1] == [(1, 10, 0), (11, 10, 10)]


async def test_a_gap_at_the_beginning_is_told(double: BusDouble, bus: Bus) -> None:
    double.add_topic("orders")
    double.failures["PublishFrames"].append(Failure(grpc.StatusCode.FAILED_PRECONDITION, "SEQUENCE_GAP"))
    async with bus.producer("orders") as producer:
        with pytest.raises(SequenceGapError):
            await producer.send(b"x")
        assert (await producer.send(b"y")).offset == 0


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"), PermissionDeniedError),
        (Failure(grpc.StatusCode.NOT_FOUND, "TOPIC_NOT_FOUND"), TopicNotFoundError),
    ],
)
async def test_what_concerns_all_frames_fails_all_of_them(
    double: BusDouble, bus: Bus, failure: Failure, kind: type[SiraError]
) -> None:
    (partition,) = double.add_topic("orders")
    async with bus.producer("orders", max_batch_records=2) as producer:
        await producer.send(b"before")
        double.refuse = lambda _: failure
        found = await outcomes(await producer.post_many(numbers(20)))
        assert {type(one) for one in found} == {kind}
        double.refuse = lambda _: None
        assert (await producer.send(b"after")).offset == 1
    assert partition.payloads() == [b"before", b"after"]


@pytest.mark.parametrize(
    "failure",
    [
        Failure(grpc.StatusCode.UNAVAILABLE, "KERNEL_STOPPING", retry_after_ms=1),
        Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED"),
        Failure(grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
async def test_what_may_pass_is_tried_again(double: BusDouble, bus: Bus, failure: Failure) -> None:
    (partition,) = double.add_topic("orders")
    double.failures["PublishFrames"].extend([failure] * 3)
    async with bus.producer("orders") as producer:
        assert (await producer.send(b"x")).offset == 0
    assert partition.payloads() == [b"x"]


async def test_an_idle_stream_that_is_lost_is_opened_again_when_there_is_something_to_send(
    double: BusDouble, bus: Bus
) -> None:
    (partition,) = double.add_topic("orders")
    async with bus.producer("orders") as producer:
        for number in range(3):
            await producer.send(b"%d" % number)
            await double.stop()
            await double.start()
    assert partition.payloads() == numbers(3)
