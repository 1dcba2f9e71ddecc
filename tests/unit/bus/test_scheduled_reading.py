"""Scheduled records: none before its time, each once, whatever happens in between."""

from __future__ import annotations

import pytest
from sira.bus.v1.frame_pb2 import Compression

from sira_grpc.bus import scheduled as module
from sira_grpc.errors import InvalidField
from tests.unit.bus.partition_world import PartitionWorld, incoming, records
from tests.unit.bus.scheduled_world import LOG, at, later


@pytest.mark.parametrize("how", ["damaged", "flipped"])
async def test_a_damaged_frame_takes_nothing_else_with_it(
    partition_world: PartitionWorld, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    world = partition_world
    for payload in "abc":
        await world.publish(later(world, payload, 10))
    setattr(world.logs, how, {(LOG, 1)})
    assert await at(world, 10) == ["a", "c"]
    assert "frame 1 is damaged" in caplog.text
    assert world.scheduled.count == 0
    for payload in "def":
        await world.publish(later(world, payload, 10))
    setattr(world.logs, how, {(LOG, 1), (LOG, 4)})
    await world.reopen(killed=True)
    assert await at(world, 10) == ["a", "c", "d", "f"]
    await world.publish(later(world, "g", 10))
    assert await at(world, 10) == ["a", "c", "d", "f", "g"]


async def test_numbers_of_damaged_frames_are_not_given_again(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish(later(world, "a", 10))
    assert await at(world, 10) == ["a"]
    world.logs.damaged = {(LOG, 0)}
    await world.reopen(killed=True)
    await world.publish(later(world, "b", 10))
    await world.reopen(killed=True)
    assert await at(world, 10) == ["a", "b"]


@pytest.mark.parametrize("large", [False, True])
async def test_compressed_payloads_are_taken_apart(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    world = partition_world
    if large:
        monkeypatch.setattr(module, "INLINE_BYTES", 0)
    zstd = Compression.COMPRESSION_ZSTD
    frame = incoming([later(world, "a" * 400, 10), later(world, "b" * 400, 20)], compression=zstd)
    bad = incoming([later(world, "a" * 400, 10), later(world, "b" * 400, 20)], compression=zstd)
    bad.frame.payloads = b"no zstd" + bad.frame.payloads
    bad.data = bad.frame.SerializeToString()
    await world.appender.publish(frame)
    with pytest.raises(InvalidField, match=r"frame\.payloads: cannot be decompressed"):
        await world.appender.publish(bad)
    assert await at(world, 10) == ["a" * 400]
    assert await at(world, 10) == ["a" * 400, "b" * 400]


async def test_frames_are_read_once_for_many_of_their_records(partition_world: PartitionWorld) -> None:
    world = partition_world
    for frame in range(10):
        await world.publish(*(later(world, f"{frame} {number}", 10 + number) for number in range(20)))
    world.logs.read_frames.clear()
    for _ in range(30):
        await at(world, 1)
    assert len(await world.payloads()) == 200
    assert world.logs.read_frames[LOG] <= 2 * 10


async def test_with_little_memory_frames_are_read_more_often(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = partition_world
    monkeypatch.setattr("sira_grpc.bus.scheduled_frames.KEPT_BYTES", 5000)
    monkeypatch.setattr("sira_grpc.bus.scheduled_frames.READ_FRAMES", 2)
    for frame in range(5):
        await world.publish(*(later(world, f"{frame} {number:0100}", 10 + number) for number in range(20)))
    expected = [f"{frame} {number:0100}" for number in range(20) for frame in range(5)]
    for _ in range(30):
        await at(world, 1)
        assert world.scheduled.frames._kept_bytes <= 8000
    assert await world.payloads() == expected


async def test_the_order_is_kept_when_many_are_late(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish(*(later(world, f"{number:03}", 500 - number) for number in range(500)))
    await world.publish(*records("now"))
    await world.reopen(killed=True)
    assert await at(world, 1000) == ["now", *(f"{number:03}" for number in reversed(range(500)))]
