from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from sira.bus.v1.dead_letter_service_pb2 import (
    DeadLetterFilter,
    PurgeDeadLettersResponse,
)
from sira.bus.v1.record_pb2 import Attributes, Record
from sira.bus.v1.topic_pb2 import Topic, TopicLimits

from sira_grpc.bus import names, redriving
from sira_grpc.errors import StoreUnavailable, TopicNotFound
from sira_grpc.times import timestamp
from tests.unit.bus.control_world import DEFAULT
from tests.unit.bus.dead_letter_world import (
    CORRUPT,
    MAX_DELIVERIES,
    TERMINATED,
    TouchyLogs,
    ids,
    opened,
)
from tests.unit.bus.redrive_world import RedriveWorld, answer, id_of, incoming


async def test_they_come_back_to_their_subscription_alone(world: RedriveWorld) -> None:
    attributes = Attributes(headers={"h": "1"}, content_type="text/plain")
    message = Record(
        id="a",
        key=b"k",
        payload=b"p",
        attributes=attributes,
        ttl=Duration(seconds=1),
        deliver_at=timestamp(2_000_000_000_000_000_000),
    )
    await world.bury([5], partition=1, message=message)
    assert await world.redrive() == answer(1)
    assert not await world.held(0)
    (held,) = await world.held(1)
    assert (held.only_for, held.redrives, held.expires_ns) == (world.subscription.uid, 1, 0)
    expected = Record(id="a", key=b"k", payload=b"p", attributes=attributes)
    expected.event_time.CopyFrom(timestamp(1_700_000_000_000_000_005))  # it happened when it was published first
    assert held.reader.record(0) == expected
    assert await ids(world.letters) == []
    assert await world.redrive() == answer()


async def test_when_it_happened_stays_as_it_was(world: RedriveWorld) -> None:
    await world.bury([1], message=Record(payload=b"p", event_time=timestamp(77)))
    await world.redrive()
    (held,) = await world.held()
    assert held.reader.record(0) == Record(payload=b"p", event_time=timestamp(77))


async def test_they_are_no_duplicates_and_make_none(world: RedriveWorld) -> None:
    place = await world.place()
    original = Record(id="a", payload=b"p")
    await place.appender.publish(incoming(original, Record(id="b")))
    await world.bury([0], message=original)
    assert await world.redrive() == answer(1)
    assert [held.count for held in await world.held()] == [2, 1]
    again = await place.appender.publish(incoming(original))
    assert (again.duplicate, again.offset) == (True, 0)
    await world.close_partitions()
    again = await (await world.place()).appender.publish(incoming(original))
    assert (again.duplicate, again.offset) == (True, 0)


async def test_a_redrive_that_fails_makes_no_duplicate_of_the_next_one(world: RedriveWorld) -> None:
    place = await world.place()
    await place.appender.publish(incoming(Record(id="a")))
    place.partition.logs = logs = TouchyLogs(place.partition.logs)
    logs.failures.append(StoreUnavailable("full"))
    await world.bury([0], message=Record(id="a"))
    with pytest.raises(StoreUnavailable):
        await world.redrive()
    assert await ids(world.letters) == [0]
    assert (await place.appender.publish(incoming(Record(id="a")))).duplicate


async def test_the_oldest_come_first_in_each_partition(world: RedriveWorld) -> None:
    await world.bury([0, 1])
    await world.bury([2], partition=1)
    await world.bury([3], redrives=1)
    await world.bury([4, 5])
    await world.bury([6], partition=1, redrives=2)
    assert await world.redrive() == answer(7)
    first, second = await world.held(0), await world.held(1)
    assert [(list(held.reader.frame.ids), held.redrives) for held in first] == [
        (["id-0", "id-1"], 1),
        (["id-3"], 2),
        (["id-4", "id-5"], 1),
    ]
    assert [(list(held.reader.frame.ids), held.redrives) for held in second] == [(["id-2"], 1), (["id-6"], 3)]


async def test_to_another_topic_they_go_for_all_of_its_readers(world: RedriveWorld) -> None:
    await world.control.topic("graveyard", partitions=4)
    await world.bury(range(40))
    await world.bury([40], redrives=1, message=Record(id="id-40"))
    assert await world.redrive(topic="graveyard") == answer(41)
    frames = [held for partition in range(4) for held in await world.held(partition, "graveyard")]
    assert all(held.only_for == "" for held in frames)
    assert sorted(held.redrives for held in frames if not held.reader.keys) == [2]
    for partition in range(4):
        keys = [key for held in await world.held(partition, "graveyard") for key in held.reader.keys]
        assert all(names.partition_of(key, 4) == partition for key in keys)
    assert sorted(id_ for _, _, some in world.published for id_ in some) == sorted(map(id_of, range(41)))
    assert [some for _, partition, some in world.published if partition is None] == [["id-40"]], "to any partition"
    assert not await world.held()


async def test_those_from_a_topic_that_is_gone_can_go_to_another(world: RedriveWorld) -> None:
    await world.control.topic("gone")
    await world.control.topic("graveyard")
    await world.bury([0, 1], topic="gone")
    await world.control.topics.delete(f"{DEFAULT}/topics/gone", etag="", force=True)
    await world.bury([2])
    assert await world.redrive(limit=1) == answer(1, impossible=2)
    await world.control.topic("gone")
    assert await world.redrive() == answer(impossible=2), "one that is created again is another"
    assert await ids(world.letters) == [0, 1]
    assert await world.redrive(topic="graveyard") == answer(2)


async def test_what_cannot_be_redriven_is_left(world: RedriveWorld) -> None:
    await world.control.topics.create(Topic(name=f"{DEFAULT}/topics/small", limits=TopicLimits(max_record_bytes=100)))
    await world.bury([0], reason=CORRUPT, message=Record(key=b"k"))
    await world.bury([1, 2])
    await world.bury([3], message=Record(payload=bytes(101)))
    world.logs.damaged = {(names.dead_of(world.subscription.uid), 1)}
    assert await world.redrive(topic="small") == answer(1, impossible=3)
    assert await world.redrive() == answer(1, impossible=2)
    assert world.letters.count == 2
    narrow = DeadLetterFilter(reason=TERMINATED)
    assert await world.redrive(wanted=narrow) == answer(), "of what is damaged nobody knows why it died"
    assert await world.redrive(wanted=DeadLetterFilter(ids=[1])) == answer(impossible=1)


async def test_a_topic_that_is_not_there_is_an_error(world: RedriveWorld) -> None:
    await world.bury([0])
    with pytest.raises(TopicNotFound):
        await world.redrive(topic="graveyard")
    assert await ids(world.letters) == [0]


async def test_those_that_came_back_too_often_are_left(world: RedriveWorld) -> None:
    for redrives in range(5):
        await world.bury([redrives], redrives=redrives)
    assert await world.redrive(max_redrives=1, dry_run=True) == answer(1, guarded=4)
    assert await world.redrive() == answer(3, guarded=2)
    assert await ids(world.letters) == [3, 4]
    assert await world.redrive(max_redrives=4) == answer(1, guarded=1)
    assert await world.redrive(max_redrives=1000) == answer(1)


async def test_a_dry_run_changes_nothing(world: RedriveWorld) -> None:
    await world.bury(range(5))
    await world.bury([5], redrives=3)
    await world.bury([6], reason=CORRUPT)
    assert await world.redrive(dry_run=True) == answer(5, 1, 1)
    assert await world.redrive(dry_run=True, limit=2) == answer(2, more=True)
    assert await world.purge(dry_run=True) == PurgeDeadLettersResponse(purged=7)
    assert await world.purge(dry_run=True, limit=3) == PurgeDeadLettersResponse(purged=3, more=True)
    assert not world.published
    assert world.letters.count == 7


async def test_a_limit_takes_the_oldest(world: RedriveWorld) -> None:
    await world.bury(range(5))
    assert await world.redrive(limit=3) == answer(3, more=True)
    assert world.published == [("orders", 0, ["id-0", "id-1", "id-2"])]
    assert await world.redrive(limit=2) == answer(2)
    await world.bury(range(redriving.DEFAULT_LIMIT + 1))
    assert await world.redrive() == answer(1000, more=True)
    assert await world.redrive() == answer(1)


async def test_a_filter_chooses(world: RedriveWorld) -> None:
    await world.bury(range(4))
    await world.bury(range(4, 8), reason=MAX_DELIVERIES)
    some = DeadLetterFilter(reason=MAX_DELIVERIES, ids=[2, 5, 6])
    assert await world.redrive(wanted=some, limit=1) == answer(1, more=True)
    assert await world.redrive(wanted=some) == answer(1)
    assert await ids(world.letters) == [0, 1, 2, 3, 4, 7]
    assert await world.purge(wanted=DeadLetterFilter(key=b"key-7")) == PurgeDeadLettersResponse(purged=1)
    assert await ids(world.letters) == [0, 1, 2, 3, 4]


async def test_they_are_purged_for_good(world: RedriveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redriving, "PURGED_AT_ONCE", 3)
    await world.bury(range(10))
    world.logs.damaged = {(names.dead_of(world.subscription.uid), 2)}
    assert await world.purge(limit=4) == PurgeDeadLettersResponse(purged=4, more=True)
    assert await ids(world.letters) == [4, 5, 6, 7, 8, 9]
    assert await world.purge() == PurgeDeadLettersResponse(purged=6)
    assert await world.purge() == PurgeDeadLettersResponse()
    again = await opened(world.logs, uid=world.subscription.uid)
    assert (again.count, again.next) == (0, 10)


async def test_a_purge_that_fails_leaves_the_others(world: RedriveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redriving, "PURGED_AT_ONCE", 3)
    await world.bury(range(5))
    world.logs.failures.append(StoreUnavailable("full"))
    with pytest.raises(StoreUnavailable):
        await world.purge()
    assert world.letters.count == 5
    assert await world.purge() == PurgeDeadLettersResponse(purged=5)
