"""Scheduled records: none before its time, each once, whatever happens in between."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.topic_pb2 import Durability, Topic

from sira_grpc.bus import appending, due_batch, span_log
from sira_grpc.bus import scheduled as module
from sira_grpc.bus.incoming import Published
from sira_grpc.bus.producers import SCHEDULED
from sira_grpc.errors import StoreUnavailable
from tests.clocks import NANOS, FakeClock
from tests.unit.bus.partition_world import PartitionWorld, record
from tests.unit.bus.scheduled_world import DOWN, LOG, RELEASED, at, later


async def test_records_are_released_when_they_are_due_in_that_order(partition_world: PartitionWorld) -> None:
    world = partition_world
    published = await world.publish(later(world, "c", 30), later(world, "a", 10), later(world, "b", 20))
    assert published == Published(SCHEDULED, 3)
    await world.publish(later(world, "d", 20.5))
    assert await at(world, 9.9) == []
    assert world.scheduled.count == 4
    assert await at(world, 0.1) == ["a"]
    assert await at(world, 15) == ["a", "b", "d"]
    assert await at(world, 60) == ["a", "b", "d", "c"]
    assert world.scheduled.count == 0


async def test_what_is_due_at_once_in_a_frame_with_others_follows_at_once(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish(later(world, "later", 10), record("now"), later(world, "past", -10))
    assert await at(world, 0) == ["now", "past"]
    assert await at(world, 10) == ["now", "past", "later"]


async def test_a_frame_whose_time_has_come_already_is_stored_as_any_other(partition_world: PartitionWorld) -> None:
    world = partition_world
    assert await world.publish(later(world, "past", -10)) == Published(0, 1)
    assert LOG not in world.logs.appended


async def test_what_is_due_together_is_released_together(partition_world: PartitionWorld) -> None:
    world = partition_world
    await asyncio.gather(*(world.publish(later(world, str(n), 10), record_with_a_key(world, n)) for n in range(30)))
    world.logs.appended.clear()
    await at(world, 20)
    assert world.logs.appended.count(world.log) == 1
    (frame,) = await world.frames()
    assert frame.count == 60
    assert [(span.first, span.end) for span in frame.released] == [(0, 60)]
    assert frame.reader.record(31).attributes.headers == {"n": "1"}
    assert frame.reader.record(31).key == b"k1"


def record_with_a_key(world: PartitionWorld, number: int) -> Record:
    made = later(world, f"keyed {number}", 11)
    made.key = f"k{number}".encode()
    made.attributes.headers["n"] = str(number)
    return made


@pytest.mark.parametrize(("bound", "value"), [("MAX_RECORDS", 4), ("MAX_BYTES", 450), ("MAX_MEMORY", 6000)])
async def test_what_is_released_at_once_is_bounded(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    world = partition_world
    monkeypatch.setattr(due_batch, bound, value)
    monkeypatch.setattr(module, "MAX_RECORDS", due_batch.MAX_RECORDS)
    payloads = [f"{number:0100}" for number in range(20)]
    for payload in payloads:
        await world.publish(later(world, payload, 10))
    assert await at(world, 10) == payloads
    assert max(held.count for held in await world.frames()) <= 4
    assert world.scheduled.count == 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("schedule"), st.lists(st.integers(0, 20), min_size=1, max_size=5)),
        st.tuples(st.just("wait"), st.lists(st.integers(1, 10), min_size=1, max_size=1)),
        st.tuples(st.sampled_from(["now", "reopen", "kill", "no log", "no note", "store back"]), st.just([])),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, mark_frames=st.sampled_from([1, 1000]), snapshot_steps=st.sampled_from([1, 1000]))
async def test_each_is_released_once_whatever_happens(
    steps: list[tuple[str, list[int]]], mark_frames: int, snapshot_steps: int
) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(appending, "MARK_FRAMES", mark_frames)
        patch.setattr(span_log, "SNAPSHOT_STEPS", snapshot_steps)
        world = PartitionWorld(Path(directory), FakeClock())
        await world.start()
        dues: dict[str, int] = {}
        for step, numbers in [*steps, ("store back", []), ("wait", [30]), ("kill", []), ("wait", [0])]:
            await take_a_step(world, step, numbers, dues)
            found = await world.payloads()
            assert len(set(found)) == len(found), "none twice"
            assert all(dues[payload] <= world.clock.time_ns() for payload in found), "none before its time"
        assert sorted(found) == sorted(dues)
        scheduled = [payload for payload in found if not payload.startswith("now")]
        assert len(scheduled) + sum(payload.startswith("now") for payload in dues) == len(dues)
        assert world.scheduled.count == 0
        await world.stop()


async def take_a_step(world: PartitionWorld, step: str, numbers: list[int], dues: dict[str, int]) -> None:
    if step == "schedule":
        sent = {f"{len(dues) + index}": seconds for index, seconds in enumerate(numbers)}
        try:
            await world.publish(*(later(world, payload, seconds) for payload, seconds in sent.items()))
        except StoreUnavailable:
            return
        dues.update({payload: world.clock.time_ns() + seconds * NANOS for payload, seconds in sent.items()})
    elif step == "now":
        try:
            await world.publish(record(f"now {len(dues)}"))
        except StoreUnavailable:
            return
        dues[f"now {len(dues)}"] = world.clock.time_ns()
    elif step == "wait":
        world.clock.advance(numbers[0])
        try:
            await world.scheduled.release()
        except StoreUnavailable:
            assert world.logs.failing
    elif step in {"reopen", "kill"}:
        await world.reopen(killed=step == "kill")
    elif step == "store back":
        world.logs.failing = set()
    else:
        world.logs.failing = {world.log if step == "no log" else RELEASED}


async def test_what_was_released_but_not_noted_is_not_released_again(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish(later(world, "a", 10), later(world, "b", 20))
    world.logs.failing = {RELEASED}
    world.clock.advance(15)
    with pytest.raises(StoreUnavailable):
        await world.scheduled.release()
    assert await world.payloads() == ["a"]
    await world.reopen(killed=True)
    assert world.scheduled.count == 1
    with pytest.raises(StoreUnavailable):
        await at(world, 10)
    assert await world.payloads() == ["a"], "not before the last is noted: the next would hide it"
    world.logs.failing = set()
    assert await at(world, 0) == ["a", "b"]
    await world.reopen(killed=True)
    assert await at(world, 0) == ["a", "b"]


async def test_a_store_that_fails_is_tried_again(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = partition_world
    monkeypatch.setattr(module, "RETRY_SECONDS", 0)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    released = asyncio.Event()
    world.partition.listeners.append(released.set)
    await world.publish(later(world, "a", 10), later(world, "b", 10))
    world.logs.failures = [DOWN] * 5
    world.clock.advance(10)
    async with asyncio.timeout(30):
        await released.wait()
    assert not world.logs.failures
    assert await world.payloads() == ["a", "b"]


async def test_the_earliest_wakes_it(partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a look at the clock in between: what is due now must not wait for what is due later."""
    world = partition_world
    monkeypatch.setattr(module, "LOOK_SECONDS", 3600)
    released = asyncio.Event()
    world.partition.listeners.append(released.set)
    await world.publish(later(world, "a", 1000))
    await world.publish(later(world, "b", 500), record("now"))
    async with asyncio.timeout(30):
        await released.wait()
    assert await world.payloads() == ["now"]


async def test_nothing_is_released_when_it_is_closed(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish(later(world, "a", 10))
    await world.scheduled.close()
    assert await world.publish(later(world, "b", 10)) == Published(SCHEDULED, 1)
    assert world.scheduled._task is None
    await world.reopen()
    assert await at(world, 10) == ["a", "b"]


async def test_a_frame_that_could_not_be_scheduled_never_was(partition_world: PartitionWorld) -> None:
    world = partition_world
    world.logs.failures = [DOWN]
    with pytest.raises(StoreUnavailable):
        await world.publish(later(world, "a", 10, id_="1"), producer="p", sequence=1)
    assert world.scheduled.count == 0
    await world.publish(later(world, "a", 10, id_="1"), producer="p", sequence=1)
    assert await at(world, 10) == ["a"]


@pytest.mark.parametrize("killed", [True, False])
async def test_a_frame_that_is_sent_again_is_not_scheduled_again(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    world = partition_world
    await world.publish(record("first"), producer="p", sequence=1)
    frame = [later(world, "a", 10, id_="1"), later(world, "b", 20, id_="2")]
    await world.publish(*frame, producer="p", sequence=2)
    for _ in range(3):
        again = await world.publish(*frame, producer="p", sequence=2)
        assert again == Published(SCHEDULED, 2, duplicate=True)
        by_id = await world.publish(frame[1])
        assert by_id.duplicate
        await at(world, 10)
        await world.reopen(killed=killed)
    assert await world.payloads() == ["first", "a", "b"]
    assert (await world.publish(record("c"), producer="p", sequence=4)).offset == 3
    assert world.logs.appended.count(LOG) == 1


async def test_only_the_records_that_are_new_are_scheduled(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish(record("a", id_="1"))
    published = await world.publish(
        later(world, "a", 5, id_="1"), later(world, "b", 5, id_="2"), later(world, "b", 5, id_="2")
    )
    assert published == Published(SCHEDULED, 1, False, (0, SCHEDULED, SCHEDULED), (True, False, True))
    assert await at(world, 5) == ["a", "b"]
    assert (await world.publish(later(world, "b", 5, id_="2"))).duplicate


async def test_a_ttl_counts_from_when_the_record_is_due(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish(later(world, "a", 10, ttl=5), later(world, "b", 10, ttl=60), later(world, "c", 10))
    await world.reopen()
    assert await at(world, 40) == ["b", "c"], "it was over before the kernel came to it"
    (held,) = await world.frames()
    assert held.expired(world.clock.time_ns() + 29 * NANOS) == []
    assert held.expired(world.clock.time_ns() + 30 * NANOS) == [0]
    assert world.scheduled.count == 0


async def test_records_that_have_all_expired_are_not_released(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish(later(world, "a", 10, ttl=5))
    await world.scheduled.close()
    await world.reopen()
    assert await at(world, 15) == []
    await world.reopen(killed=True)
    assert world.scheduled.count == 0


async def test_space_is_given_back_from_the_head(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = partition_world
    monkeypatch.setattr(appending, "MARK_FRAMES", 1)
    for seconds in (10, 10, 1000, 10):
        await world.publish(later(world, "x", seconds), later(world, "y", 20))
    await at(world, 15)
    assert (await world.logs.range(LOG)).first == 0
    await at(world, 10)
    assert (await world.logs.range(LOG)).first == 2
    await at(world, 1000)
    await world.publish(record("so that there is a mark"))
    await world.publish(later(world, "z", 1))
    await at(world, 1)
    assert (await world.logs.range(LOG)).first >= 4
    await world.reopen(killed=True)
    await world.publish(later(world, "last", 1))
    assert (await at(world, 1))[-1] == "last"
    await world.reopen(killed=True)
    assert len(await world.payloads()) == 11


async def test_a_producer_is_known_when_its_scheduled_frames_are_gone(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = partition_world
    monkeypatch.setattr(appending, "MARK_FRAMES", 3)
    for sequence in range(1, 9):
        await world.publish(later(world, str(sequence), 1, id_=str(sequence)), producer="p", sequence=sequence)
        await at(world, 2)
    assert (await world.logs.range(LOG)).first > 0
    await world.reopen(killed=True)
    assert (await world.publish(later(world, "8", 1), producer="p", sequence=8)).duplicate
    assert (await world.publish(later(world, "3", 1, id_="3"))).duplicate
    assert await world.payloads() == list("12345678")


async def test_a_topic_in_memory_gives_its_space_back_at_once(tmp_path: Path, clock: FakeClock) -> None:
    world = PartitionWorld(tmp_path, clock, Topic(durability=Durability.DURABILITY_MEMORY), in_memory=True)
    await world.start()
    await world.publish(later(world, "a", 10))
    assert await at(world, 10) == ["a"]
    held = await world.logs.range(LOG)
    assert held.first == held.next == 1
    await world.stop()
