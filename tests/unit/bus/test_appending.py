"""Putting frames into a partition: each once, in order, sealed and chained, or not at all."""

from __future__ import annotations

import asyncio

import pytest
from sira.bus.internal.v1.stored_frame_pb2 import Redrive, StoredFrame
from sira.bus.v1.frame_pb2 import Compression
from sira.bus.v1.topic_pb2 import Retention, Topic, WhenFull

import sira_grpc.bus.appending as module
from sira_grpc.bus import names
from sira_grpc.bus.incoming import Published
from sira_grpc.bus.settings import TopicSettings
from sira_grpc.bus.stored import link
from sira_grpc.errors import InvalidField, SequenceGap, StoreUnavailable, TopicFull
from tests.unit.bus.partition_world import UID, PartitionWorld, incoming, record, records

MARKS = names.marks_of(UID, 0)
DOWN = StoreUnavailable("the disk is full")


async def stored(world: PartitionWorld) -> list[StoredFrame]:
    frames = await world.store.read(world.log, 0, max_frames=1000, max_bytes=1 << 20)
    return [StoredFrame.FromString(frame.data) for frame in frames]


async def test_frames_get_consecutive_offsets_and_a_chain_of_hashes(partition_world: PartitionWorld) -> None:
    world = partition_world
    assert await world.publish(*records("a", "b")) == Published(0, 2)
    assert await world.publish(*records("c")) == Published(2, 1)
    await world.reopen()
    assert await world.publish(*records("d")) == Published(3, 1)
    frames = await world.store.read(world.log, 0, max_frames=10, max_bytes=1 << 20)
    kept = await stored(world)
    assert [frame.base_offset for frame in kept] == [0, 2, 3]
    assert [frame.previous for frame in kept] == [b"", link(frames[0].data), link(frames[1].data)]
    assert world.partition.head == link(frames[2].data)
    assert await world.payloads() == ["a", "b", "c", "d"]


async def test_what_comes_while_the_disk_is_busy_is_written_together(partition_world: PartitionWorld) -> None:
    world = partition_world
    world.logs.shut()
    tasks = [asyncio.create_task(world.publish(record(str(number)))) for number in range(20)]
    await world.logs.arrived()
    world.logs.open()
    assert [published.offset for published in await asyncio.gather(*tasks)] == list(range(20))
    assert len(world.logs.appended) <= 2, "the first alone, or what was there; then the others"


async def test_a_frame_that_a_producer_sends_again_is_not_stored_again(partition_world: PartitionWorld) -> None:
    world = partition_world
    assert (await world.publish(*records("a", "b"), producer="p", sequence=1)).offset == 0
    assert (await world.publish(*records("c"), producer="p", sequence=3)).offset == 2
    again = await world.publish(*records("a", "b"), producer="p", sequence=1)
    assert again == Published(0, 2, duplicate=True)
    await world.reopen(killed=True)
    assert await world.publish(*records("c"), producer="p", sequence=3) == Published(2, 1, duplicate=True)
    await world.reopen()
    assert await world.publish(*records("c"), producer="p", sequence=3) == Published(2, 1, duplicate=True)
    assert await world.payloads() == ["a", "b", "c"]


async def test_a_gap_in_a_producers_sequence_is_refused(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish(*records("a"), producer="p", sequence=7)
    with pytest.raises(SequenceGap) as gap:
        await world.publish(*records("b"), producer="p", sequence=9)
    assert gap.value.metadata == {"expected": "8", "producer": "p"}
    assert await world.payloads() == ["a"]


async def test_what_could_not_be_written_never_was(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish(*records("a"), producer="p", sequence=1)
    world.logs.failures = [DOWN]
    world.logs.shut()
    frames = [incoming(records(str(n)), producer="p", sequence=2 + n) for n in range(3)]
    frames.append(incoming(records("0"), producer="p", sequence=2))  # a duplicate of what is not stored yet
    tasks = [asyncio.create_task(world.appender.publish(frame)) for frame in frames]
    await world.logs.arrived()
    world.logs.open()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[0] is DOWN
    assert all(isinstance(outcome, StoreUnavailable | SequenceGap) for outcome in outcomes[:3])
    assert await world.payloads() == ["a", *(["0"] if isinstance(outcomes[3], Published) else [])]
    # The producer goes on from where it was.
    await world.publish(*records("b"), producer="q", sequence=5)
    assert (await world.appender.publish(incoming(records("0"), producer="p", sequence=2))).offset in (1, 2)
    await world.reopen(killed=True)
    assert sorted(await world.payloads()) == ["0", "a", "b"]


async def test_none_that_follows_a_frame_that_was_refused_comes_first(partition_world: PartitionWorld) -> None:
    world = partition_world
    world.logs.failures = [DOWN]
    with pytest.raises(StoreUnavailable):
        await world.publish(*records("a"), producer="p", sequence=1)
    with pytest.raises(SequenceGap):
        await world.publish(*records("b"), producer="p", sequence=2)
    assert (await world.publish(*records("a"), producer="p", sequence=1)).offset == 0


async def test_records_whose_ids_are_there_are_cut_out(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish(record("a", id_="1"), record("b", id_="2"))
    published = await world.publish(record("b", id_="2"), record("c", id_="3"), record("d"), record("c", id_="3"))
    assert published == Published(2, 2, False, (1, 2, 3, 2), (True, False, False, True))
    assert await world.publish(record("a", id_="1")) == Published(0, 0, True, (0,), (True,))
    assert await world.payloads() == ["a", "b", "c", "d"]
    for killed in (True, False):
        await world.reopen(killed=killed)
        assert (await world.publish(record("c", id_="3"))).duplicate
    world.clock.advance(121)
    assert not (await world.publish(record("c", id_="3"))).duplicate, "the window is over"


async def test_ids_of_what_could_not_be_written_are_forgotten(partition_world: PartitionWorld) -> None:
    world = partition_world
    world.logs.failures = [DOWN]
    with pytest.raises(StoreUnavailable):
        await world.publish(record("a", id_="1"))
    assert await world.publish(record("a", id_="1")) == Published(0, 1)


async def test_a_producer_goes_on_behind_a_frame_whose_ids_were_all_there(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish(record("a", id_="1"), producer="old", sequence=1)
    await world.publish(record("b"), producer="new", sequence=1)
    assert (await world.publish(record("a", id_="1"), producer="new", sequence=2)).duplicate
    assert (await world.publish(record("c"), producer="new", sequence=3)).offset == 2
    assert (await world.publish(record("a", id_="1"), producer="new", sequence=4)).duplicate
    await world.reopen()
    assert (await world.publish(record("d"), producer="new", sequence=5)).offset == 3


async def test_a_duplicate_of_what_is_being_written_fails_with_it(partition_world: PartitionWorld) -> None:
    world = partition_world
    world.logs.failures = [DOWN]
    world.logs.shut()
    first = asyncio.create_task(world.publish(record("x")))  # is written alone
    await world.logs.arrived()
    frames = [incoming([record("a", id_="1")]), incoming([record("a", id_="1")], producer="p", sequence=1)]
    tasks = [asyncio.create_task(world.appender.publish(frame)) for frame in frames]
    await asyncio.sleep(0)
    world.logs.open()
    with pytest.raises(StoreUnavailable):
        await first
    outcomes = await asyncio.gather(*tasks)
    assert [outcome.duplicate for outcome in outcomes] == [False, True]
    assert await world.payloads() == ["a"]


async def test_an_id_that_is_in_a_failing_batch_twice_is_stored_once(partition_world: PartitionWorld) -> None:
    world = partition_world
    world.logs.shut()
    first = asyncio.create_task(world.publish(record("x")))
    await world.logs.arrived()
    frames = [incoming([record("a", id_="1")]), incoming([record("a", id_="1")], producer="p", sequence=1)]
    tasks = [asyncio.create_task(world.appender.publish(frame)) for frame in frames]
    await asyncio.sleep(0)
    world.logs.failures = [None, DOWN]
    world.logs.open()
    await first
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[0] is DOWN
    assert outcomes[1] == Published(1, 1), "what it repeats was not stored, so that it is the first"
    assert await world.payloads() == ["x", "a"]


async def test_dead_letters_that_come_back_keep_their_ids(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish(record("a", id_="1"))
    back = incoming([record("a", id_="1")], redrive=Redrive(subscription_uid="s", redrives=2))
    assert await world.appender.publish(back) == Published(1, 1)
    (_, held) = await world.frames()
    assert (held.only_for, held.redrives) == ("s", 2)


async def test_payloads_that_cannot_be_taken_apart_are_refused(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish(record("a", id_="1"))
    frame = incoming([record("a" * 300, id_="1"), record("b", id_="2")])
    frame.frame.compression = Compression.COMPRESSION_ZSTD
    frame.data = frame.frame.SerializeToString()
    with pytest.raises(InvalidField, match="no zstd"):
        await world.appender.publish(frame)
    assert await world.payloads() == ["a"]


async def test_a_frame_that_is_too_large_for_the_store_takes_no_other_with_it(partition_world: PartitionWorld) -> None:
    world = partition_world
    large = [record("x" * (1 << 20)) for _ in range(4)]
    later = record("y", deliver_at_ns=world.clock.time_ns() + 1)
    outcomes = await asyncio.gather(
        world.publish(record("a")), world.publish(*large), world.publish(*large, later), world.publish(record("b")),
        return_exceptions=True,
    )  # fmt: skip
    assert [type(outcome) for outcome in outcomes] == [Published, InvalidField, InvalidField, Published]
    assert await world.payloads() == ["a", "b"]


@pytest.mark.parametrize("retention", [Retention(max_records=3), Retention(max_bytes=250)])
async def test_a_full_topic_refuses_if_it_is_told_to(partition_world: PartitionWorld, retention: Retention) -> None:
    world = partition_world
    retention.when_full = WhenFull.WHEN_FULL_REFUSE
    world.partition.settings = TopicSettings.of(Topic(retention=retention))
    await world.publish(*records("a", "b"))
    with pytest.raises(TopicFull) as full:
        await world.publish(*records("c" * 300, "d"))
    assert full.value.metadata == {"topic": "t", "partition": "0"}
    assert (await world.publish(*records("e"))).offset == 2
    assert await world.payloads() == ["a", "b", "e"]


async def test_a_partition_is_marked_now_and_then_and_opens_from_there(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = partition_world
    monkeypatch.setattr(module, "MARK_FRAMES", 10)
    for number in range(25):
        await world.publish(record(str(number), id_=str(number)), producer="p", sequence=number + 1)
    assert world.logs.appended.count(MARKS) == 2
    world.logs.read_frames.clear()
    await world.reopen(killed=True)
    assert world.logs.read_frames[world.log] <= 5 + 2, "what is behind the mark, the last and the first"
    assert (await world.publish(record("3", id_="3"))).duplicate
    assert (await world.publish(record("24"), producer="p", sequence=25)).duplicate
    assert world.partition.size == sum(len(frame.SerializeToString()) for frame in await stored(world))


async def test_a_mark_that_could_not_be_written_is_no_failure(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = partition_world
    monkeypatch.setattr(module, "MARK_FRAMES", 1)
    world.logs.failing = {MARKS}
    assert (await world.publish(record("a", id_="1"))).offset == 0
    await world.close()
    world.logs.failing = set()
    await world.open()
    assert (await world.publish(record("a", id_="1"))).duplicate


async def test_time_never_goes_back_in_a_partition(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish(record("a"))
    world.clock.advance(-100)
    await world.publish(record("b"))
    await world.reopen()
    await world.publish(record("c"))
    times = [frame.publish_ns for frame in await stored(world)]
    assert times == sorted(times)
