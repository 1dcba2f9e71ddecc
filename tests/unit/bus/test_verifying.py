"""Verifying: whatever was changed is found, and what was not is not held against anybody."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from sira.bus.internal.v1.scheduled_frame_pb2 import ScheduledFrame
from sira.bus.internal.v1.stored_frame_pb2 import StoredFrame
from sira.bus.internal.v1.topic_record_pb2 import TopicRecord
from sira.bus.v1.topic_pb2 import Compaction, Topic
from sira.bus.v1.topic_service_pb2 import VerifyTopicResponse
from sira_client.frames import checksum, pack

from sira_grpc.bus import names
from sira_grpc.bus import verifying as module
from sira_grpc.bus.compaction import compact
from sira_grpc.bus.partition import Partition
from sira_grpc.bus.retention import retain
from sira_grpc.bus.settings import TopicSettings
from sira_grpc.bus.verifying import Verifying
from sira_grpc.bus.view import BusView, TopicEntry
from sira_grpc.errors import TopicNotFound
from sira_grpc.store import Entry, Snapshot
from tests.clocks import NANOS
from tests.unit.bus.partition_world import UID, PartitionWorld, record, records
from tests.unit.bus.test_retention import keep

NAME = "namespaces/default/topics/t"
SCHEDULED = names.scheduled_of(UID, 0)
COMPACTED = names.compacted_of(UID, 0)[0]


def verifying(*partitions: Partition) -> Verifying:
    view = BusView()
    stored = TopicRecord(topic=Topic(name=NAME), uid=UID).SerializeToString()
    view.load(Snapshot(1, (Entry(names.topic_key(NAME), stored, 1),)))

    async def opened(topic: TopicEntry) -> Sequence[Partition]:
        assert topic.name == NAME
        return partitions

    async def found(name: str) -> TopicEntry:
        return view.topic(name)

    return Verifying(found, opened)


async def verified(world: PartitionWorld) -> VerifyTopicResponse:
    """The last answer, with the damages of all."""
    answers = [answer async for answer in verifying(world.partition).verify(NAME)]
    assert [answer.done for answer in answers] == [False] * (len(answers) - 1) + [True]
    for answer in answers[:-1]:
        answers[-1].damages.extend(answer.damages)
    return answers[-1]


async def damages(world: PartitionWorld) -> list[tuple[int, int, str]]:
    """Frame, offset and the first words of what is wrong."""
    return [(each.frame, each.offset, each.description) for each in (await verified(world)).damages]


async def test_what_is_as_it_was_written_is_counted(partition_world: PartitionWorld) -> None:
    world = partition_world
    assert await verified(world) == VerifyTopicResponse(done=True)
    for number in range(300):
        await world.publish(*records(f"{number}a", f"{number}b"))
    await world.reopen()
    await world.publish(record("soon", deliver_at_ns=world.clock.time_ns() + NANOS))
    answer = await verified(world)
    assert (answer.partition, answer.frames, answer.records, answer.done) == (0, 301, 601, True)
    frames = await world.store.read(world.log, 0, max_frames=1000, max_bytes=1 << 20)
    assert answer.bytes > sum(len(frame.data) for frame in frames)
    assert answer.head == world.partition.head
    assert not answer.damages


async def test_a_topic_that_is_not_there_is_told() -> None:
    with pytest.raises(TopicNotFound):
        await anext(verifying().verify("namespaces/default/topics/other"))


async def test_all_partitions_are_read_one_after_the_other(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish_each("abc")
    other = Partition(world.logs, "t", UID, 1, world.settings, world.partition._recent._budget)
    await other.open(None)
    answers = [answer async for answer in verifying(world.partition, other).verify(NAME)]
    assert [(answer.partition, answer.frames, answer.done) for answer in answers] == [(0, 3, True), (1, 0, True)]


@pytest.mark.parametrize(("bound", "value"), [("TELL_BYTES", 100), ("TELL_SECONDS", 0)])
async def test_it_tells_how_far_it_has_come(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    world = partition_world
    monkeypatch.setattr(module, bound, value)
    await world.publish_each(map(str, range(20)))
    frames = [answer.frames async for answer in verifying(world.partition).verify(NAME)]
    assert len(frames) > 5
    assert frames == sorted(frames)
    assert frames[-1] == 20


async def test_very_many_damages_are_told_as_they_are_found(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = partition_world
    monkeypatch.setattr(module, "TELL_DAMAGES", 3)
    await world.publish_each(map(str, range(20)))
    world.logs.flipped = {(world.log, number) for number in range(20)}
    answers = [answer async for answer in verifying(world.partition).verify(NAME)]
    assert max(len(answer.damages) for answer in answers) == 3
    assert sum(len(answer.damages) for answer in answers) == 20


@pytest.mark.parametrize("seed", range(10))
async def test_each_damaged_frame_is_found_and_no_other(partition_world: PartitionWorld, seed: int) -> None:
    world = partition_world
    rng = random.Random(seed)
    await world.publish_each(map(str, range(300)))
    numbers = rng.sample(range(300), 12)
    world.logs.damaged = {(world.log, number) for number in numbers[:6]}
    world.logs.flipped = {(world.log, number) for number in numbers[6:]}
    found = await damages(world)
    assert [frame for frame, _, _ in found] == sorted(numbers)
    for frame, offset, description in found:
        if frame in numbers[6:]:
            assert (offset, description) == (frame, "it does not match its checksum")
        else:
            before = frame - 1 in numbers
            assert (offset, description) == (-1 if before else frame, "the store finds it damaged")
    assert (await verified(world)).head == (b"" if 299 in numbers else world.partition.head)


Change = Callable[[StoredFrame], None]


def another_payload(stored: StoredFrame) -> None:
    stored.frame = pack(records("forged"))
    stored.checksum = checksum(stored.frame)


def another_count(stored: StoredFrame) -> None:
    stored.count += 1


def another_offset(stored: StoredFrame) -> None:
    stored.base_offset += 5


def an_earlier_offset(stored: StoredFrame) -> None:
    stored.base_offset -= 1


def no_frame(stored: StoredFrame) -> None:
    stored.frame = b"\xff"
    stored.checksum = checksum(b"\xff")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (another_payload, [(6, 6, "it holds another hash than that of the frame before it")]),
        (another_count, [(5, 5, "it has 1 records, where 2 are told")]),
        (another_offset, [(5, 10, "its first offset is 10, where 5 follows"), (6, 6, "its first offset is 6, where")]),
        (an_earlier_offset, [(5, 4, "its first offset is 4, where 5 follows"), (6, 6, "its first offset is 6, where")]),
        (no_frame, [(5, 5, "it cannot be read")]),
    ],
)
async def test_what_somebody_has_changed_is_found(
    partition_world: PartitionWorld, change: Change, expected: list[tuple[int, int, str]]
) -> None:
    world = partition_world
    await world.publish_each(map(str, range(10)))
    frames = await world.store.read(world.log, 0, max_frames=10, max_bytes=1 << 20)
    await world.store.delete_partition(world.log)
    data = [frame.data for frame in frames]
    stored = StoredFrame.FromString(data[5])
    change(stored)
    data[5] = stored.SerializeToString()
    await world.store.append(world.log, data)
    found = await damages(world)
    for (frame, offset, description), (number, place, words) in zip(found, expected, strict=False):
        assert (frame, offset) == (number, place)
        assert description.startswith(words)
    assert found[0][0] in (5, 6)
    assert all(frame in (5, 6) for frame, _, _ in found)


async def test_frames_that_were_put_elsewhere_are_found(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish_each(map(str, range(6)))
    frames = await world.store.read(world.log, 0, max_frames=10, max_bytes=1 << 20)
    await world.store.delete_partition(world.log)
    await world.store.append(world.log, [frames[number].data for number in (0, 2, 1, 3, 5)])
    found = {frame for frame, _, _ in await damages(world)}
    assert found == {1, 2, 3, 4}


async def test_what_begins_at_another_frame_has_nothing_before_it(partition_world: PartitionWorld) -> None:
    world = partition_world
    await world.publish_each(map(str, range(10)), seconds=10)
    keep(world, seconds=35)
    await retain(world.partition, world.clock.time_ns())
    answer = await verified(world)
    assert (answer.frames, list(answer.damages)) == (3, [])
    await world.store.append(world.log, [b"\xff"])
    await world.reopen(killed=True)
    assert await damages(world) == [(10, 10, "it cannot be read")]


async def test_what_was_compacted_has_a_chain_of_its_own(partition_world: PartitionWorld) -> None:
    world = partition_world
    compacted = Topic(compaction=Compaction())
    compacted.compaction.min_age.FromSeconds(0)
    world.settings = world.partition.settings = TopicSettings.of(compacted)
    for number in range(30):
        await world.publish(record(str(number), key=str(number % 7)), record("x"))
    world.clock.advance(1)
    await compact(world.partition, world.store, world.clock.time_ns())
    answer = await verified(world)
    assert (answer.frames, answer.records, list(answer.damages)) == (30, 6 + 29 + 2, [])
    assert answer.head == world.partition.head
    world.logs.flipped = {(COMPACTED, 3), (world.log, 29)}
    assert [(frame, offset) for frame, offset, _ in await damages(world)] == [(3, 7), (29, 58)]
    await world.reopen()
    assert [(frame, offset) for frame, offset, _ in await damages(world)] == [(3, 7), (29, 58)]


async def test_what_is_compacted_meanwhile_is_no_damage(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = partition_world
    monkeypatch.setattr("sira_grpc.bus.log_reading.READ_FRAMES", 5)
    monkeypatch.setattr(module, "TELL_BYTES", 1)
    compacted = Topic(compaction=Compaction())
    compacted.compaction.min_age.FromSeconds(0)
    world.settings = world.partition.settings = TopicSettings.of(compacted)
    for turn in range(3):
        for number in range(20):
            await world.publish(record(str(number), key=str(number)))
        world.clock.advance(1)
        if turn < 1:
            await compact(world.partition, world.store, world.clock.time_ns())
    answers = verifying(world.partition).verify(NAME)
    first = await anext(answers)
    assert first.frames == 1
    await compact(world.partition, world.store, world.clock.time_ns())
    keep(world, count=2)
    await retain(world.partition, world.clock.time_ns())
    rest = [answer async for answer in answers]
    assert not any(answer.damages for answer in rest)
    assert rest[-1].head == world.partition.head


async def test_what_comes_meanwhile_is_not_read(
    partition_world: PartitionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = partition_world
    monkeypatch.setattr(module, "TELL_BYTES", 1)
    await world.publish_each("abc")
    answers = verifying(world.partition).verify(NAME)
    await anext(answers)
    await world.publish_each("def")
    assert [answer.frames async for answer in answers][-1] == 3


@pytest.mark.parametrize("damage", ["store", "bit", "count", "nonsense"])
async def test_scheduled_records_are_read_too(partition_world: PartitionWorld, damage: str) -> None:
    world = partition_world
    for payload in "abc":
        await world.publish(record(payload, deliver_at_ns=world.clock.time_ns() + NANOS))
    if damage == "store":
        world.logs.damaged = {(SCHEDULED, 1)}
        expected = (1, -1, "scheduled records: the store finds them damaged")
    elif damage == "bit":
        world.logs.flipped = {(SCHEDULED, 1)}
        expected = (1, -1, "scheduled records: it does not match its checksum")
    elif damage == "count":
        data = pack(records("a"))
        forged = ScheduledFrame(base=3, count=2, checksum=checksum(data), frame=data)
        await world.store.append(SCHEDULED, [forged.SerializeToString()])
        expected = (3, -1, "scheduled records: it has 1 records, where 2 are told")
    else:
        await world.store.append(SCHEDULED, [b"\xff"])
        expected = (3, -1, "scheduled records: they cannot be read")
    assert await damages(world) == [expected]
