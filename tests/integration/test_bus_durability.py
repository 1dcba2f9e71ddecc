"""What is acknowledged says what it survives: a restart, or a disk that is full for a while."""

from __future__ import annotations

import asyncio
import random
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from sira.bus.v1 import subscription_service_pb2 as pb
from sira.bus.v1.publish_service_pb2 import PublishFramesRequest
from sira.bus.v1.publish_service_pb2_grpc import PublishServiceStub
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.subscription_pb2 import StartPosition
from sira.bus.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from sira.bus.v1.topic_pb2 import Durability
from sira_client.frames import FrameReader, checksum, pack_columns

from tests.integration.bus_consumer import Act, Consumer
from tests.integration.bus_kernel import BusKernel, running, subscription_name, topic_name
from tests.integration.bus_ledger import Account, Findings, Ledger
from tests.integration.bus_life import Fuse, Life
from tests.integration.bus_loads import retry
from tests.integration.bus_producer import FramesProducer
from tests.integration.bus_tail import places_of, read_log
from tests.integration.registry_kernel import refusal
from tests.kernel_store import SERVERS

DISK = Durability.DURABILITY_DISK
MEMORY = Durability.DURABILITY_MEMORY
TOPIC = "durable.topic"
SECONDS = 60
"""After which a test gives up."""

Decide = Callable[[int, bytes], str]
"""Says what to do with a record, by its offset and payload: the field of Settlement.outcome."""


async def publish_frame(kernel: BusKernel, topic: str, payloads: Sequence[bytes]) -> Any:
    """Publishes one frame over a stream, and returns the answer."""
    data = pack_columns(payloads)
    stub: Any = PublishServiceStub(kernel.channel)
    call = stub.PublishFrames()
    await call.write(PublishFramesRequest(topic=topic_name(topic), frame=data, checksum=checksum(data)))
    answer = await call.read()
    await call.done_writing()
    assert await call.read() is aio.EOF
    return answer


async def consume(kernel: BusKernel, subscription: str, count: int, decide: Decide) -> tuple[list[bytes], set[int]]:
    """Takes so many records of a topic with one partition and settles them.

    Returns their payloads, in the order in which they came, and what the answers said of their durability.
    """
    stub: Any = SubscriptionServiceStub(kernel.channel)
    call = stub.Subscribe()
    await call.write(pb.SubscribeRequest(open=pb.OpenSubscription(subscription=subscription_name(subscription))))
    await call.write(pb.SubscribeRequest(credit=pb.Credit(records=count, bytes=1 << 20)))
    payloads: list[bytes] = []
    answers: set[int] = set()
    unanswered = 0
    while len(payloads) < count or unanswered:
        response = await call.read()
        if response.HasField("settled"):
            assert not response.settled.stale
            answers.add(response.settled.durability)
            unanswered -= 1
        if not response.HasField("delivery"):
            continue
        reader = FrameReader(response.delivery.frame)
        settle = pb.Settle()
        for index, offset in places_of(response.delivery):
            payloads.append(reader.payload(index))
            settlement = settle.settlements.add(topic=response.delivery.topic)
            settlement.ranges.add(first=offset, end=offset + 1)
            getattr(settlement, decide(offset, payloads[-1])).SetInParent()
        await call.write(pb.SubscribeRequest(settle=settle))
        unanswered += 1
    call.cancel()
    return payloads, answers


def always_ack(offset: int, payload: bytes) -> str:
    return "ack"


@pytest.mark.parametrize("durability", [DISK, MEMORY], ids=["disk", "memory"])
async def test_every_answer_says_what_it_survives(tmp_path: Path, durability: Durability.ValueType) -> None:
    async with asyncio.timeout(SECONDS), running(tmp_path) as kernel:
        await kernel.create_topic(TOPIC, durability=durability)
        await kernel.create_subscription("reader", TOPIC)
        assert (await kernel.publish(TOPIC, [Record(payload=b"a")])).durability == durability
        assert (await publish_frame(kernel, TOPIC, [b"b", b"c"])).durability == durability
        assert await consume(kernel, "reader", 3, always_ack) == ([b"a", b"b", b"c"], {durability})


async def test_a_topic_is_on_disk_unless_it_says_otherwise(tmp_path: Path) -> None:
    async with asyncio.timeout(SECONDS), running(tmp_path) as kernel:
        await kernel.create_topic(TOPIC)
        assert (await kernel.publish(TOPIC, [Record(payload=b"a")])).durability == DISK


def kill(kernel: BusKernel) -> None:
    kernel.kill()


def terminate(kernel: BusKernel) -> None:
    assert kernel.process.terminate() == 0


@pytest.mark.parametrize("end", [kill, terminate])
async def test_a_topic_in_memory_is_empty_after_a_restart_and_its_subscriptions_go_on(
    tmp_path: Path, end: Callable[[BusKernel], None]
) -> None:
    latest = StartPosition(latest=StartPosition.Latest())
    async with asyncio.timeout(SECONDS), running(tmp_path) as kernel:
        await kernel.create_topic(TOPIC, durability=MEMORY)
        await kernel.create_subscription("early", TOPIC)
        await publish_frame(kernel, TOPIC, [b"before %d" % number for number in range(10)])
        await kernel.create_subscription("late", TOPIC, start=latest)
        await consume(kernel, "early", 5, lambda offset, _: "terminate" if offset in (1, 3) else "ack")
        assert len(await kernel.letters("early")) == 2
        end(kernel)
    async with asyncio.timeout(SECONDS), running(tmp_path) as kernel:
        (status,) = (await kernel.topic(TOPIC)).status.partitions
        assert (status.first_offset, status.next_offset, status.bytes) == (0, 0, 0)
        assert (await kernel.subscription("early")).status.lag == 0
        payloads = [b"after %d" % number for number in range(10)]
        await publish_frame(kernel, TOPIC, payloads)
        assert (await kernel.subscription("early")).status.lag == 10
        assert await consume(kernel, "early", 10, always_ack) == (payloads, {MEMORY})
        assert await consume(kernel, "late", 10, always_ack) == (payloads, {MEMORY})
        # Dead letters are on the disk.
        assert [letter.offset for letter in await kernel.letters("early")] == [1, 3]
        assert (await kernel.redrive("early", 10)).redriven == 2
        assert await consume(kernel, "early", 2, always_ack) == ([b"before 1", b"before 3"], {MEMORY})


class FullDisk:
    """A disk on which the files of a kernel may not grow, for a while."""

    def __init__(self, kernel: BusKernel, folder: Path) -> None:
        self._kernel = kernel
        self._folder = folder

    def fill(self) -> None:
        """What is free inside the files may still take a little."""
        largest = max(path.stat().st_size for path in self._folder.iterdir())
        resource.prlimit(self._kernel.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

    def free(self) -> None:
        resource.prlimit(self._kernel.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.mark.skipif(SERVERS > 0, reason="the disk is that of the servers, which are to be stopped when it is full")
async def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    rng = random.Random(20_26)
    findings = Findings()
    ledger = Ledger(TOPIC, findings)
    accounts = [Account(name, ledger) for name in ("reader", "refused")]
    # One frame at a time: a write to a stream that has ended would hide why it has.
    producer = FramesProducer("p", ledger, 1, rng, window=1, room=lambda: True)
    unavailable = (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    async with asyncio.timeout(SECONDS), running(tmp_path) as kernel:
        disk = FullDisk(kernel, tmp_path)
        life = Life(0, kernel, Fuse("never", 0, 0))
        await kernel.create_topic(TOPIC)
        for account in accounts:
            await kernel.create_subscription(account.name, TOPIC, retry=retry(1000))
        publishing = asyncio.create_task(refusal(producer.run(life)))
        while findings.counts["acknowledged"] < 500:
            await life.news()
        disk.fill()
        assert await publishing == unavailable
        assert await refusal(producer.run(life)) == unavailable
        assert await refusal(kernel.create_topic("another")) == unavailable
        # What is stored is delivered all the same; what has become of it cannot be stored.
        for outcome in ("nak", "terminate"):
            assert await refusal(consume(kernel, "refused", 1, lambda *_, said=outcome: said)) == unavailable
        disk.free()
        life = Life(1, kernel, None)
        await producer.run(life)
        assert producer.idle
        consumers = [Consumer(account, rng, lambda *_: Act.ACK) for account in accounts]
        consuming = asyncio.gather(*(consumer.run(life) for consumer in consumers))
        await kernel.drained("reader", "refused")
        consuming.cancel()
        for partition, log in (await read_log(kernel, TOPIC, 1)).items():
            ledger.check_log(partition, log)
        for account in accounts:
            account.check()
            assert not await kernel.letters(account.name)
    findings.check()
