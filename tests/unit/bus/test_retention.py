"""Retention: what is too old or too much goes, in whole frames from the oldest on, and nothing else does."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sira_grpc.bus import appending, segment
from sira_grpc.bus import retention as module
from sira_grpc.bus.retention import overdue, retain
from sira_grpc.errors import StoreUnavailable
from tests.clocks import NANOS, FakeClock
from tests.unit.bus.partition_world import PartitionWorld, record, records


def keep(
    world: PartitionWorld, *, seconds: float | None = None, size: int | None = None, count: int | None = None
) -> None:
    """Sets what the topic keeps."""
    age = None if seconds is None else round(seconds * NANOS)
    world.settings = replace(world.settings, max_age_ns=age, max_bytes=size, max_records=count)
    world.partition.settings = world.settings


async def trimmed(world: PartitionWorld) -> list[str]:
    """Takes out what is to go, and returns what can be read."""
    await retain(world.partition, world.clock.time_ns())
    return await world.payloads()


async def test_records_go_when_they_are_too_old(partition_world: PartitionWorld) -> None:
    world = partition_world
    keep(world, seconds=10)
    await world.publish_each("abcdef", seconds=3)
    assert await trimmed(world) == ["d", "e", "f"]
    assert world.partition.first == 3
    assert (await world.logs.range(world.log)).first == 3
    world.clock.advance(2.9)
    assert await trimmed(world) == ["e", "f"]


async def test_the_last_frame_cannot_be_read_when_it_is_too_old_but_the_chain_goes_on_from_it(
    partition_world: PartitionWorld,
) -> None:
    world = partition_world
    keep(world, seconds=10)
    await world.publish_each("abc")
    head = world.partition.head
    world.clock.advance(11)
    assert await trimmed(world) == []
    assert world.partition.first == world.partition.end == 3
    held = await world.logs.range(world.log)
    assert (held.first, held.next) == (2, 3)
    await world.restart()
    assert await world.payloads() == [], "nor after a restart"
    assert world.partition.head == head
    assert (await world.publish(record("d"))).offset == 3
    assert await trimmed(world) == ["d"]
    assert not overdue(world.partition, world.clock.time_ns())
    world.clock.advance(11)
    await world.publish(record("e"))
    assert await trimmed(world) == ["e"]


async def test_a_partition_holds_no_less_than_it_may(partition_world: PartitionWorld) -> None:
    world = partition_world
    keep(world, count=5)
    for number in range(0, 20, 2):
        await world.publish(*records(str(number), str(number + 1)))
    assert await trimmed(world) == list(map(str, range(14, 20)))
    keep(world, count=1)
    assert await trimmed(world) == ["18", "19"], "the last frame stays"


async def test_bytes_are_bounded_in_whole_frames(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish_each(f"{number:0100}" for number in range(20))
    size = world.partition.size // 20
    keep(world, size=size * 5)
    assert len(await trimmed(world)) in (5, 6)
    assert world.partition.size >= size * 5
    keep(world, size=1)
    assert len(await trimmed(world)) == 1


async def test_a_topic_that_refuses_when_it_is_full_takes_nothing_out_for_its_size(
    partition_world: PartitionWorld,
) -> None:
    world = partition_world
    await world.publish_each("abc", seconds=1)
    world.settings = replace(world.settings, refuse_when_full=True)
    keep(world, size=1, count=1)
    assert await trimmed(world) == ["a", "b", "c"]
    keep(world, size=1, count=1, seconds=2.5)
    assert await trimmed(world) == ["b", "c"]


async def test_without_limits_everything_stays(partition_world: PartitionWorld) -> None:
    world = partition_world
    keep(world)
    await world.publish_each("abc", seconds=1e8)
    assert await trimmed(world) == ["a", "b", "c"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 8)),
        st.tuples(st.just("wait"), st.integers(1, 10)),
        st.tuples(st.sampled_from(["retain", "reopen", "kill"]), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(
    steps=STEPS,
    seconds=st.sampled_from([None, 15]),
    count=st.sampled_from([None, 10]),
    size=st.sampled_from([None, 900]),
    mark_frames=st.sampled_from([2, 1000]),
)
async def test_what_may_stay_stays_and_sizes_are_right(
    steps: list[tuple[str, int]], seconds: int | None, count: int | None, size: int | None, mark_frames: int
) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(appending, "MARK_FRAMES", mark_frames)
        patch.setattr(segment, "INDEX_EVERY", 3)
        patch.setattr(module, "READ_FRAMES", 2)
        world = PartitionWorld(Path(directory), FakeClock())
        await world.start()
        keep(world, seconds=seconds, count=count, size=size)
        # Of each frame: when it was published, and the payloads.
        model: list[tuple[int, list[str]]] = []
        total = 0
        for step, number in steps:
            if step == "publish":
                payloads = [str(total + index) for index in range(number)]
                await world.publish(*records(*payloads))
                model.append((world.clock.time_ns(), payloads))
                total += number
            elif step == "wait":
                world.clock.advance(number)
            else:
                await (retain(world.partition, world.clock.time_ns()) if step == "retain" else world.reopen())
                await check(world, model, seconds, count, size)
        await world.stop()


async def check(
    world: PartitionWorld, model: list[tuple[int, list[str]]], seconds: int | None, count: int | None, size: int | None
) -> None:
    found = await world.payloads()
    everything = [payload for _, payloads in model for payload in payloads]
    assert found == everything[len(everything) - len(found) :], "the oldest go first"
    frames = await world.store.read(world.log, 0, max_frames=1000, max_bytes=1 << 20)
    assert world.partition.size == sum(len(frame.data) for frame in frames)
    horizon = world.clock.time_ns() - (seconds or 10**9) * NANOS
    young = [payload for published, payloads in model for payload in payloads if published >= horizon]
    if seconds is not None:
        assert len(found) <= len(young), "nothing too old can be read"
    if seconds is None or len(found) < len(young):
        if count is None and size is None:
            assert found == young
        if count is not None and size is None:
            assert len(found) >= min(count, len(everything))
    if count is not None:
        assert len(found) < count + 8
    if size is not None and len(frames) > 1:
        assert world.partition.size - len(frames[0].data) < size


async def test_what_the_store_cannot_take_out_cannot_be_read(partition_world: PartitionWorld) -> None:
    world = partition_world
    keep(world, seconds=10)
    await world.publish_each("abc", seconds=4)
    world.logs.failing = {world.log}
    assert await trimmed(world) == ["b", "c"]
    world.logs.failing = set()
    world.clock.advance(4)
    assert await trimmed(world) == ["c"]
    assert (await world.logs.range(world.log)).first == 2


async def test_a_damaged_frame_goes_with_what_follows_it(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish_each("abcdef", seconds=4)
    world.logs.damaged = {(world.log, 0), (world.log, 2)}
    world.recent_bytes = 0
    await world.reopen()
    assert world.partition.first == 0
    keep(world, seconds=13)
    assert await trimmed(world) == ["d", "e", "f"]
    assert (await world.logs.range(world.log)).first in (2, 3)


async def test_if_all_is_damaged_nothing_is_taken_out(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish_each("ab")
    world.logs.damaged = {(world.log, 0), (world.log, 1)}
    world.recent_bytes = 0
    keep(world, seconds=10)
    world.clock.advance(100)
    await world.reopen()
    assert await trimmed(world) == []
    assert (await world.logs.range(world.log)).first == 0


async def test_much_too_much_is_taken_out_at_once(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = partition_world
    monkeypatch.setattr(module, "SLACK_BYTES", 500)
    monkeypatch.setattr(module, "SLACK_RECORDS", 10)
    keep(world, size=1000)
    await world.publish_each(f"{number:0100}" for number in range(50))
    assert world.partition.size < 1000 + 1000 // 16 + 500 + 200
    keep(world, count=10)
    await world.publish_each(map(str, range(50)))
    assert world.partition.records <= 21


async def test_publishing_goes_on_when_what_is_too_much_cannot_be_read(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = partition_world
    monkeypatch.setattr(module, "SLACK_RECORDS", 1)
    keep(world, count=1)

    async def unavailable(*_: object, **__: object) -> None:
        raise StoreUnavailable("closed")

    monkeypatch.setattr(world.partition.live, "read", unavailable)
    await world.publish_each("abcdef")
    assert world.partition.end == 6


async def test_what_goes_is_not_read_if_its_places_are_known(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = partition_world
    monkeypatch.setattr(segment, "INDEX_EVERY", 10)
    keep(world, count=15)
    await world.publish_each(map(str, range(500)))
    assert len(await trimmed(world)) == 15
    assert world.logs.read_frames[world.log] <= module.READ_FRAMES


async def test_what_is_too_old_to_read_is_told_without_reading(partition_world: PartitionWorld) -> None:
    world = partition_world
    keep(world, seconds=10)
    assert not overdue(world.partition, world.clock.time_ns())
    await world.publish_each("ab", seconds=6)
    assert overdue(world.partition, world.clock.time_ns())
    assert await trimmed(world) == ["b"]
    assert not overdue(world.partition, world.clock.time_ns())


async def test_nothing_is_written_to_a_partition_that_is_closed(partition_world: PartitionWorld) -> None:
    world = partition_world
    keep(world, seconds=10)
    await world.publish_each("ab", seconds=20)
    world.partition.close()
    await world.partition.idle()
    await retain(world.partition, world.clock.time_ns())
    assert (await world.logs.range(world.log)).first == 0
