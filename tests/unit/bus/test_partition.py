"""What a partition holds: after any mix of writes and restarts, and when some of it is damaged."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sira_grpc.bus import appending, names, segment
from sira_grpc.bus.partition import SKIPPED_WHEN_LOST
from tests.clocks import NANOS, FakeClock
from tests.unit.bus.partition_world import UID, PartitionWorld, record, records


async def test_readers_that_keep_up_read_no_disk(partition_world: PartitionWorld) -> None:
    world = partition_world
    heard: list[int] = []
    world.partition.listeners.append(lambda: heard.append(world.partition.end))
    await world.publish_each("abc")
    assert heard == [1, 2, 3]
    assert await world.records() == [(0, "a"), (1, "b"), (2, "c")]
    assert world.log not in world.logs.read_frames
    assert await world.partition.read(3) == []


@pytest.mark.parametrize("in_memory", [False, True])
async def test_old_frames_are_read_from_the_log(tmp_path: Path, clock: FakeClock, in_memory: bool) -> None:
    world = PartitionWorld(tmp_path, clock, in_memory=in_memory)
    world.recent_bytes = 500
    await world.start()
    for number in range(0, 600, 3):
        await world.publish(*records(*map(str, range(number, number + 3))))
    assert await world.payloads() == list(map(str, range(600)))
    for offset in (0, 1, 2, 3, 299, 300, 301, 597, 599):
        held = (await world.partition.read(offset))[0]
        assert held.base <= offset < held.end
    await world.reopen()
    assert await world.payloads() == list(map(str, range(600)))
    await world.stop()


async def test_a_time_is_an_offset(partition_world: PartitionWorld) -> None:
    world = partition_world
    start = world.clock.time_ns()
    await world.publish_each(map(str, range(200)), seconds=1)
    for world_is_new in (False, True):
        if world_is_new:
            await world.restart()
        for second in (0, 1, 64, 150, 199):
            assert await world.partition.offset_at(start + second * NANOS) == second
            assert await world.partition.offset_at(start + second * NANOS - 1) == second
        assert await world.partition.offset_at(0) == 0
        assert await world.partition.offset_at(start + 200 * NANOS) == 200


STEPS = st.lists(
    st.one_of(
        st.lists(st.integers(1, 4), min_size=1, max_size=6).map(lambda counts: ("publish", counts)),
        st.sampled_from([("reopen", []), ("kill", []), ("restart", [])]),
    ),
    max_size=12,
)


@settings(max_examples=20, deadline=None)
@given(steps=STEPS, mark_frames=st.sampled_from([1, 3, 1000]), recent=st.sampled_from([0, 200, 1 << 20]))
async def test_whatever_happens_it_holds_what_was_acknowledged(
    steps: list[tuple[str, list[int]]], mark_frames: int, recent: int
) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(appending, "MARK_FRAMES", mark_frames)
        patch.setattr(segment, "INDEX_EVERY", 2)
        world = PartitionWorld(Path(directory), FakeClock())
        world.recent_bytes = recent
        await world.start()
        model: list[str] = []
        for step, counts in steps:
            if step == "publish":
                for count in counts:
                    payloads = [str(len(model) + index) for index in range(count)]
                    published = await world.publish(*records(*payloads), producer="p", sequence=len(model) + 1)
                    assert published.offset == len(model)
                    model += payloads
            elif step == "restart":
                await world.restart(killed=True)
            else:
                await world.reopen(killed=step == "kill")
            assert await world.payloads() == model
            frames = await world.store.read(world.log, 0, max_frames=1000, max_bytes=1 << 20)
            assert world.partition.size == sum(len(frame.data) for frame in frames)
        await world.stop()


def by_the_store(world: PartitionWorld, frames: set[int]) -> None:
    world.logs.damaged = {(world.log, number) for number in frames}


def by_a_bit(world: PartitionWorld, frames: set[int]) -> None:
    world.logs.flipped = {(world.log, number) for number in frames}


@pytest.mark.parametrize("damage", [by_the_store, by_a_bit])
@pytest.mark.parametrize("seed", range(10))
async def test_damage_is_never_read_and_the_rest_is(
    tmp_path: Path, clock: FakeClock, damage: Callable[[PartitionWorld, set[int]], None], seed: int
) -> None:
    rng = random.Random(seed)
    world = PartitionWorld(tmp_path, clock)
    world.recent_bytes = 0
    await world.start()
    for number in range(40):
        await world.publish(*records(f"{number}a", f"{number}b"))
    broken = set(rng.sample(range(39), rng.randint(1, 8)))
    damage(world, broken)
    expected = [(n * 2 + i, f"{n}{'ab'[i]}") for n in range(40) if n not in broken for i in (0, 1)]
    for reopened in (False, True):
        if reopened:
            await world.reopen()
        assert await world.records() == expected
        lost = [(held.base, held.end) for held in await world.frames() if held.broken]
        assert sorted(n for first, end in lost for n in range(first // 2, end // 2)) == sorted(broken)
        for number in range(80):
            held = (await world.partition.read(number))[0]
            assert held.base <= number < held.end
            assert held.broken == (number // 2 in broken)
    assert (await world.publish(record("end"))).offset == 80
    assert (await world.records())[-1] == (80, "end")
    await world.stop()


@pytest.mark.parametrize("damage", [by_the_store, by_a_bit])
async def test_offsets_behind_a_damaged_end_are_not_given_again(
    tmp_path: Path, clock: FakeClock, damage: Callable[[PartitionWorld, set[int]], None]
) -> None:
    world = PartitionWorld(tmp_path, clock)
    world.recent_bytes = 0
    await world.start()
    await world.publish_each("abc")
    damage(world, {2})
    await world.reopen(killed=True)
    assert await world.records() == [(0, "a"), (1, "b")]
    (lost,) = await world.partition.read(2)
    assert lost.broken
    assert lost.base == 2
    published = await world.publish(record("d"))
    assert published.offset >= 2 + SKIPPED_WHEN_LOST
    assert await world.records() == [(0, "a"), (1, "b"), (published.offset, "d")]
    await world.reopen()
    assert await world.records() == [(0, "a"), (1, "b"), (published.offset, "d")]
    await world.stop()


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_without_a_mark_that_can_be_read_all_frames_are(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    world = partition_world
    monkeypatch.setattr(appending, "MARK_FRAMES", 3)
    for sequence in range(1, 11):
        await world.publish(record(str(sequence), id_=str(sequence)), producer="p", sequence=sequence)
    size = world.partition.size
    world.logs.damaged = {(names.marks_of(UID, 0), number)}
    await world.reopen(killed=True)
    assert world.partition.size == size
    assert await world.payloads() == list(map(str, range(1, 11)))
    assert (await world.publish(record("7"), producer="p", sequence=7)).duplicate
    assert (await world.publish(record("2", id_="2"))).duplicate
    assert (await world.publish(record("11"), producer="p", sequence=11)).offset == 10


async def test_bits_that_flip_in_the_file_are_found(tmp_path: Path, clock: FakeClock) -> None:
    """In the bytes of the frames: elsewhere in the file it is the store's matter."""
    good = PartitionWorld(tmp_path / "good", clock)
    await good.start()
    for number in range(60):
        await good.publish(*records(*(f"{number:02d}-{index:02d}" * 20 for index in range(10))))
    expected = dict(await good.records())
    await good.stop()
    rng = random.Random(3)
    for _ in range(10):
        shutil.copytree(tmp_path / "good", tmp_path / "bad")
        flip(tmp_path / "bad" / "sira.db", rng)
        world = PartitionWorld(tmp_path / "bad", clock)
        await world.start()
        found = dict(await world.records())
        assert 600 - 10 <= len(found) < 600
        assert all(expected[offset] == payload for offset, payload in found.items())
        assert (await world.publish(record("more"))).offset >= 600
        await world.stop()
        shutil.rmtree(tmp_path / "bad")


def flip(path: Path, rng: random.Random) -> None:
    """Flips a bit of the payloads of a frame that is not the last."""
    number = rng.randrange(59)
    payload = f"{number:02d}-05".encode() * 20
    content = bytearray(path.read_bytes())
    content[content.index(payload) + rng.randrange(len(payload))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
