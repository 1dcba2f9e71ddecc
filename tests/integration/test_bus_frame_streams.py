"""Streams of frames that are misused: what was right is stored and answered, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from sira.bus.v1 import topic_service_pb2 as topic_pb
from sira_client.frames import pack_columns

from sira_grpc.config import BusConfig
from tests.clocks import FakeClock
from tests.integration.bus_kernel import topic_name
from tests.integration.bus_stream import Publisher
from tests.integration.bus_world import (
    ORDERS,
    create_topic,
    framed,
    payloads,
    publish,
    running,
    topic,
    topics,
)
from tests.integration.registry_kernel import Running

IN_FLIGHT = 64 << 10


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, clock=FakeClock(), bus=BusConfig(max_in_flight_bytes=IN_FLIGHT)) as made:
        yield made
        assert not made.kernel.failed


async def test_a_publisher_that_reads_no_answers_holds_up_nobody(kernel: Running) -> None:
    await create_topic(kernel, ORDERS)
    await create_topic(kernel, topic_name("other"))
    request = framed(pack_columns([bytes(IN_FLIGHT // 4)]))
    count = 500
    async with Publisher(kernel) as publisher:

        async def write_all() -> None:
            for _ in range(count):
                await publisher.call.write(request)

        writing = asyncio.create_task(write_all())
        for offset in range(20):
            answer = await publish(kernel, topic_name("other"), *payloads("x"))
            assert answer.records[0].offset == offset
        # All are answered, once it reads.
        for offset in range(count):
            assert (await publisher.read()).offset == offset
        await writing


async def test_frames_before_a_bad_one_are_stored_and_answered_and_none_after_it(kernel: Running) -> None:
    await create_topic(kernel, ORDERS)
    good = [framed(pack_columns([b"x"]), producer_id="p", sequence=sequence) for sequence in (1, 2, 4, 3)]
    async with Publisher(kernel) as publisher:
        for request in good:
            await publisher.write(request)
        for offset in range(2):
            assert (await publisher.read()).offset == offset
        assert await publisher.refusal() == (grpc.StatusCode.FAILED_PRECONDITION, "SEQUENCE_GAP")
    async with Publisher(kernel) as publisher:
        # What came after the gap may have been on its way with it: it was not taken.
        assert (await publisher.send(good[3])).offset == 2


async def test_a_stream_of_frames_may_change_its_topic(kernel: Running) -> None:
    await create_topic(kernel, ORDERS)
    await create_topic(kernel, topic_name("other"), partitions=2)
    frame = pack_columns([b"x"])
    async with Publisher(kernel) as publisher:
        for request in (
            framed(frame),
            framed(frame, topic=""),
            framed(frame, topic=topic_name("other"), partition=1),
            framed(frame, topic="", partition=1),
            framed(frame, topic=ORDERS),
        ):
            answer = await publisher.send(request)
            assert answer.partition == request.partition
    assert (await topic(kernel, ORDERS)).status.partitions[0].next_offset == 3
    assert [each.next_offset for each in (await topic(kernel, topic_name("other"))).status.partitions] == [0, 2]


async def test_a_stream_of_frames_that_is_cancelled_leaves_whole_frames(kernel: Running) -> None:
    await create_topic(kernel, ORDERS)
    frame = pack_columns([b"x"] * 7)
    for _ in range(10):
        async with Publisher(kernel) as publisher:
            await publisher.send(framed(frame))
            for _ in range(5):
                await publisher.write(framed(frame))
    held = (await topic(kernel, ORDERS)).status.partitions[0]
    assert held.next_offset >= 70
    assert held.next_offset % 7 == 0


async def test_the_stream_of_a_topic_that_is_deleted_ends(kernel: Running) -> None:
    await create_topic(kernel, ORDERS)
    async with Publisher(kernel) as publisher:
        await publisher.send(framed(pack_columns([b"x"])))
        await topics(kernel).DeleteTopic(topic_pb.DeleteTopicRequest(name=ORDERS, force=True))
        await publisher.write(framed(pack_columns([b"x"]), topic=""))
        assert await publisher.refusal() == (grpc.StatusCode.NOT_FOUND, "TOPIC_NOT_FOUND")
        # One that is created again is another.
    await create_topic(kernel, ORDERS)
    async with Publisher(kernel) as publisher:
        assert (await publisher.send(framed(pack_columns([b"x"])))).offset == 0


async def test_a_producer_at_the_end_of_its_sequences(tmp_path: Path) -> None:
    highest = (1 << 64) - 1
    last = framed(pack_columns([b"x"]), producer_id="p", sequence=highest - 1)
    for opening in range(2):
        async with running(tmp_path) as kernel:
            if not opening:
                await create_topic(kernel, ORDERS)
            async with Publisher(kernel) as publisher:
                answer = await publisher.send(last)
                assert (answer.offset, answer.duplicate) == (0, bool(opening))
                await publisher.write(framed(pack_columns([b"y"]), sequence=highest))
                assert await publisher.refusal() == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
