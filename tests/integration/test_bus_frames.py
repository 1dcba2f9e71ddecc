"""Whatever frame the kernel has taken, it delivers as it came, gives up and redrives; none makes it stumble."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from sira.bus.v1 import dead_letter_service_pb2 as dead
from sira.bus.v1 import subscription_service_pb2 as pb
from sira.bus.v1.dead_letter_pb2 import DeadLetterReason
from sira.bus.v1.frame_pb2 import Compression, Frame
from sira.bus.v1.publish_service_pb2 import PublishFramesResponse
from sira.bus.v1.subscription_pb2 import StartPosition
from sira_client.frames import FrameReader
from sira_client.frames.compression import decompress

from tests.clocks import FakeClock
from tests.integration.bus_frames import frames
from tests.integration.bus_stream import Publisher, Subscriber
from tests.integration.bus_world import (
    LINE,
    WORK,
    bus_of,
    framed,
    image,
    letters,
    prepare,
    running,
    subscriptions,
)
from tests.integration.garbage_bench import DEFECTS, EXAMPLES, Bench
from tests.integration.registry_kernel import Running

TERMINATED = DeadLetterReason.DEAD_LETTER_REASON_TERMINATED
CORRUPT = DeadLetterReason.DEAD_LETTER_REASON_CORRUPT


UNREADABLE = Frame(
    count=2,
    compression=Compression.COMPRESSION_ZSTD,
    payloads_bytes=20,
    payload_sizes=[10, 10],
    keys=b"ab",
    key_sizes=[1, 1],
    payloads=b"no such thing",
).SerializeToString()
"""Nobody can decompress it, and the kernel does not try when it is published."""


def still(path: Path) -> AbstractAsyncContextManager[Running]:
    return running(path, clock=FakeClock())


def offsets_of(delivery: pb.Delivery) -> list[int]:
    """The offsets of the records that a delivery brings. Payloads are not looked at: they may be unreadable."""
    count = FrameReader(delivery.frame).count
    offsets = list(delivery.offsets) or [delivery.base_offset + index for index in range(count)]
    wanted = delivery.ranges or [pb.OffsetRange(first=0, end=1 << 62)]
    return [offset for offset in offsets if any(each.first <= offset < each.end for each in wanted)]


async def consume(kernel: Running, subscription: str, count: int, outcome: str) -> list[pb.Delivery]:
    """Settles so many records of a subscription, and returns what they came in."""
    found: list[pb.Delivery] = []
    async with Subscriber.of(kernel, subscription) as stream:
        await stream.credit(10_000)
        left = count
        while left > 0:
            delivery = await stream.delivery()
            offsets = offsets_of(delivery)
            found.append(delivery)
            ranges = [pb.OffsetRange(first=offset, end=offset + 1) for offset in offsets]
            settlement = pb.Settlement(topic=delivery.topic, partition=delivery.partition, ranges=ranges)
            getattr(settlement, outcome).SetInParent()
            settled = await stream.settle(settlement)
            assert not settled.stale
            left -= len(offsets)
        assert left == 0
        await stream.nothing_more()
        await stream.close()
    return found


async def pass_through(kernel: Running, frame: bytes) -> None:
    """Sends a frame and, if it is taken, has it delivered, given up and redriven."""
    async with Publisher(kernel) as publisher:
        await publisher.write(framed(frame))
        answer = await publisher.answer()
    if not isinstance(answer, PublishFramesResponse):
        code, reason = answer
        assert code not in DEFECTS
        assert reason
        return
    if answer.duplicate or answer.offset < 0:
        return
    for subscription in (WORK, LINE):
        delivered = await consume(kernel, subscription, answer.count, "terminate")
        if answer.count == FrameReader(frame).count and len(delivered) == 1:
            assert delivered[0].frame == frame
        await bring_back(kernel, subscription, answer.count)


async def bring_back(kernel: Running, subscription: str, count: int) -> None:
    """Looks at the dead letters of a subscription, redrives and consumes what is readable, and purges the rest."""
    stub = letters(kernel)
    page = (await stub.ListDeadLetters(dead.ListDeadLettersRequest(parent=subscription))).dead_letters
    assert len(page) == count
    for letter in page:
        one = (await stub.GetDeadLetter(dead.GetDeadLetterRequest(name=letter.name))).dead_letter
        assert one.reason in (TERMINATED, CORRUPT)
    corrupt = sum(letter.reason == CORRUPT for letter in page)
    for dry_run in (True, False):
        request = dead.RedriveDeadLettersRequest(parent=subscription, dry_run=dry_run)
        redriven = await stub.RedriveDeadLetters(request)
        assert (redriven.redriven, redriven.impossible) == (count - corrupt, corrupt)
    await consume(kernel, subscription, count - corrupt, "ack")
    purged = await stub.PurgeDeadLetters(dead.PurgeDeadLettersRequest(parent=subscription))
    assert purged.purged == corrupt


async def empty(kernel: Running) -> None:
    """Passes over what is there."""
    await prepare(kernel)
    latest = StartPosition(latest=StartPosition.Latest())
    for subscription in (WORK, LINE):
        await subscriptions(kernel).SeekSubscription(pb.SeekSubscriptionRequest(name=subscription, position=latest))
        await letters(kernel).PurgeDeadLetters(dead.PurgeDeadLettersRequest(parent=subscription))


def test_frames_of_any_content() -> None:
    with Bench(still, empty, image) as bench:

        @settings(max_examples=2 * EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(frames())
        @example(UNREADABLE)
        def try_frame(frame: bytes) -> None:
            bench.run(pass_through(bench.kernel, frame))
            assert not bench.kernel.kernel.failed

        try_frame()


async def test_payloads_are_decompressed_once_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = list[int]()

    def counted(data: bytes, kind: Compression.ValueType, size: int) -> bytes:
        sizes.append(size)
        return decompress(data, kind, size)

    monkeypatch.setattr("sira_client.frames.reader.decompress", counted)
    count, size = 1000, 8 << 20
    for lacks, reason in ((0, TERMINATED), (1, CORRUPT)):
        frame = Frame(
            count=count,
            compression=Compression.COMPRESSION_ZSTD,
            payloads_bytes=size,
            payload_sizes=[size // count] * (count - 1) + [size - size // count * (count - 1)],
            payloads=zstandard.ZstdCompressor().compress(bytes(size - lacks)),
        ).SerializeToString()
        async with running(tmp_path / str(lacks), clock=FakeClock()) as kernel:
            await empty(kernel)
            sizes.clear()
            async with Publisher(kernel) as publisher:
                await publisher.send(framed(frame))
            await consume(kernel, WORK, count, "terminate")
            page = await letters(kernel).ListDeadLetters(dead.ListDeadLettersRequest(parent=WORK, page_size=count))
            assert {letter.reason for letter in page.dead_letters} == {reason}
            assert sizes == [size]
            (kept,) = [each for each in bus_of(kernel).partitions.opened() if each.partition.end > count]
            (held,) = await kept.partition.read(kept.partition.end - 1)
            assert "_payloads" not in vars(held.reader)
