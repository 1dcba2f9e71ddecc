from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from google.protobuf.duration_pb2 import Duration
from opentelemetry.metrics import NoOpMeterProvider
from sira.bus.v1.dead_letter_pb2 import DeadLetterReason
from sira.bus.v1.dead_letter_service_pb2 import (
    DeadLetterFilter,
    PurgeDeadLettersRequest,
    PurgeDeadLettersResponse,
    RedriveDeadLettersRequest,
    RedriveDeadLettersResponse,
)
from sira.bus.v1.frame_pb2 import Frame
from sira.bus.v1.record_pb2 import Attributes, Record
from sira.bus.v1.topic_pb2 import Topic, TopicLimits
from sira_client.frames import checksum, pack

from sira_grpc.bus import names, redrive_batch, redriving
from sira_grpc.bus.dead_letters import DeadLetters
from sira_grpc.bus.incoming import Incoming, Published
from sira_grpc.bus.metrics import BusMetrics
from sira_grpc.bus.partitions import OpenPartition, Partitions
from sira_grpc.bus.redriving import Redriving
from sira_grpc.bus.stored import Held
from sira_grpc.bus.view import SubscriptionEntry, TopicEntry
from sira_grpc.errors import InvalidField, KernelStopping, StoreUnavailable, TopicNotFound
from sira_grpc.times import timestamp
from tests.unit.bus.control_world import DEFAULT, ControlWorld
from tests.unit.bus.dead_letter_world import (
    CORRUPT,
    MAX_DELIVERIES,
    TERMINATED,
    TouchyLogs,
    ids,
    opened,
    record,
)


class RedriveWorld:
    """A subscription with dead letters, and the topics that they came from.

    Attributes:
        published: what was published: topic, partition, ids of the records.
        failures: what the publishing to a place raises.
        publishing: something was to be published; gate: it may be.
    """

    def __init__(self, control: ControlWorld) -> None:
        self.control = control
        self.logs = TouchyLogs(control.store)
        metrics = BusMetrics(NoOpMeterProvider().get_meter("test"))
        self.partitions = Partitions(control.store, control.view, control.config, control.clock, metrics)
        self.redriving = Redriving(control.view, self.publish)
        self.published: list[tuple[str, int | None, list[str]]] = []
        self.failures: dict[tuple[str, int | None], Exception] = {}
        self.publishing = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.subscription: SubscriptionEntry
        self.letters: DeadLetters

    async def start(self) -> None:
        await self.control.topic("orders", partitions=2)
        self.subscription = await self.control.subscription("billing", ">")
        self.letters = await opened(self.logs, uid=self.subscription.uid, name=self.subscription.name)

    async def publish(self, topic: str, partition: int | None, incoming: Incoming) -> Published:
        self.publishing.set()
        await self.gate.wait()
        if (topic, partition) in self.failures:
            raise self.failures[topic, partition]
        self.published.append((names.short(topic), partition, list(incoming.frame.ids)))
        place = await self.partitions.get(self.control.view.topic(topic), partition or 0)
        return await place.appender.publish(incoming)

    def topic(self, short: str = "orders") -> TopicEntry:
        return self.control.view.topic(names.topic_name(DEFAULT, short))

    async def place(self, partition: int = 0, topic: str = "orders") -> OpenPartition:
        return await self.partitions.get(self.topic(topic), partition)

    async def held(self, partition: int = 0, topic: str = "orders") -> list[Held]:
        """The frames of a partition."""
        found: list[Held] = []
        place = (await self.place(partition, topic)).partition
        offset = place.first
        while frames := await place.read(offset):
            found += frames
            offset = frames[-1].end
        return found

    async def bury(
        self,
        numbers: Sequence[int],
        *,
        partition: int = 0,
        topic: str = "orders",
        redrives: int = 0,
        reason: DeadLetterReason.ValueType = TERMINATED,
        message: Record | None = None,
    ) -> None:
        """Makes dead letters of records of a partition."""
        log = names.log_of(self.topic(topic).uid, partition)
        some = [
            record(
                n, log=log, topic=topic, partition=partition, redrives=redrives, reason=reason, message=message
            )
            for n in numbers
        ]  # fmt: skip
        await self.letters.append(some)

    async def redrive(
        self,
        *,
        topic: str = "",
        wanted: DeadLetterFilter | None = None,
        limit: int = 0,
        max_redrives: int = 0,
        dry_run: bool = False,
    ) -> RedriveDeadLettersResponse:
        request = RedriveDeadLettersRequest(
            parent=self.subscription.name,
            filter=wanted,
            topic=topic and names.topic_name(DEFAULT, topic),
            limit=limit,
            max_redrives=max_redrives,
            dry_run=dry_run,
        )
        return await self.redriving.redrive(self.subscription, self.letters, request)

    async def purge(
        self, *, wanted: DeadLetterFilter | None = None, limit: int = 0, dry_run: bool = False
    ) -> PurgeDeadLettersResponse:
        request = PurgeDeadLettersRequest(parent=self.subscription.name, filter=wanted, limit=limit, dry_run=dry_run)
        return await self.redriving.purge(self.letters, request)

    async def stop(self) -> None:
        await self.redriving.close()
        await self.letters.close()
        await self.partitions.close()


@pytest.fixture
async def world(control: ControlWorld) -> AsyncIterator[RedriveWorld]:
    made = RedriveWorld(control)
    await made.start()
    yield made
    await made.stop()


def answer(
    redriven: int = 0, guarded: int = 0, impossible: int = 0, *, more: bool = False
) -> RedriveDeadLettersResponse:
    return RedriveDeadLettersResponse(redriven=redriven, guarded=guarded, impossible=impossible, more=more)


def incoming(*records: Record) -> Incoming:
    data = pack(records)
    return Incoming(data, Frame.FromString(data), checksum(data))


def id_of(n: int) -> str:
    return f"id-{n}"


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
    await world.partitions.close()
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


async def test_many_go_in_small_batches(world: RedriveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.bury(range(450))
    assert await world.redrive() == answer(450)
    assert [len(some) for _, _, some in world.published] == [200, 200, 50]
    assert [id_ for _, _, some in world.published for id_ in some] == list(map(id_of, range(450)))
    world.published.clear()
    monkeypatch.setattr(redrive_batch, "BATCH_BYTES", 2500)
    await world.bury(range(5), message=Record(id="a", payload=bytes(1000)))
    assert await world.redrive() == answer(5)
    assert [len(some) for _, _, some in world.published] == [3, 2]


async def test_one_partition_that_fails_holds_up_no_other(world: RedriveWorld) -> None:
    await world.bury([0, 1])
    await world.bury([2, 3], partition=1)
    name = world.topic().name
    world.failures[name, 0] = StoreUnavailable("full")
    with pytest.raises(StoreUnavailable, match="full"):
        await world.redrive()
    assert await ids(world.letters) == [0, 1]
    world.failures.clear()
    assert await world.redrive() == answer(2)
    assert [some for _, _, some in world.published] == [["id-2", "id-3"], ["id-0", "id-1"]]


async def test_a_topic_that_is_deleted_meanwhile(world: RedriveWorld) -> None:
    await world.bury([0])
    await world.bury([1], redrives=1)
    await world.bury([2], partition=1)
    name = world.topic().name
    world.failures[name, 0] = TopicNotFound(f"{name} is not there")
    assert await world.redrive() == answer(1, impossible=2)
    assert await ids(world.letters) == [0, 1]
    world.failures[name, 1] = world.failures[name, 0]
    with pytest.raises(TopicNotFound):
        await world.redrive(topic="orders")
    assert await ids(world.letters) == [0, 1]


async def test_a_topic_that_is_replaced_meanwhile_gets_none(world: RedriveWorld) -> None:
    await world.bury([0])
    await world.bury([1], redrives=1)
    world.gate.clear()
    running = asyncio.create_task(world.redrive())
    await world.publishing.wait()
    name = world.topic().name
    await world.control.topics.delete(name, etag="", force=True)
    await world.control.topic("orders", partitions=2)
    world.failures[name, 0] = TopicNotFound(f"{name} is not there")  # what was asked for before
    world.gate.set()
    assert await running == answer(impossible=2)
    world.failures.clear()
    assert not await world.held()
    assert await ids(world.letters) == [0, 1]


async def test_another_topic_that_is_replaced_meanwhile_gets_no_more(
    world: RedriveWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redrive_batch, "BATCH_LETTERS", 1)
    await world.control.topic("graveyard")
    await world.bury([0, 1], message=Record(id="a"))
    world.gate.clear()
    running = asyncio.create_task(world.redrive(topic="graveyard"))
    await world.publishing.wait()
    await world.control.topics.delete(world.topic("graveyard").name, etag="", force=True)
    await world.control.topic("graveyard")
    world.gate.set()
    with pytest.raises(TopicNotFound):
        await running
    assert await ids(world.letters) == [1]


async def test_one_that_dies_again_at_once_is_not_taken_again(world: RedriveWorld) -> None:
    await world.bury([0, 1])

    async def publish(topic: str, partition: int | None, incoming: Incoming) -> Published:
        published = await world.publish(topic, partition, incoming)
        await world.bury([0, 1], redrives=incoming.redrive.redrives if incoming.redrive else 0)
        return published

    world.redriving = Redriving(world.control.view, publish)
    assert await world.redrive() == answer(2)
    assert await ids(world.letters) == [2, 3]
    assert await world.redrive() == answer(2)
    assert await world.redrive() == answer(2)
    assert await world.redrive() == answer(guarded=2)


async def test_what_cannot_be_removed_comes_back_again(world: RedriveWorld) -> None:
    await world.bury([0])
    world.logs.failures.append(StoreUnavailable("full"))
    with pytest.raises(StoreUnavailable, match="full"):
        await world.redrive()
    assert await ids(world.letters) == [0]
    assert await world.redrive() == answer(1)
    assert [some for _, _, some in world.published] == [["id-0"], ["id-0"]]


async def test_a_caller_that_goes_away_leaves_nothing_half_done(
    world: RedriveWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redrive_batch, "BATCH_LETTERS", 2)
    await world.bury(range(6))
    world.gate.clear()
    leaving = asyncio.create_task(world.redrive())
    await world.publishing.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    world.gate.set()
    await world.redriving.close()
    assert await ids(world.letters) == [2, 3, 4, 5]
    assert world.published == [("orders", 0, ["id-0", "id-1"])]
    assert await world.redrive() == answer(4)


async def test_those_of_one_subscription_are_redriven_one_call_after_the_other(world: RedriveWorld) -> None:
    await world.bury(range(300))
    redrivings = [asyncio.create_task(world.redrive()) for _ in range(3)]
    purging = asyncio.create_task(world.purge())
    redriven = [(await running).redriven for running in redrivings]
    assert sorted([*redriven, (await purging).purged]) == [0, 0, 0, 300]
    assert [id_ for _, _, some in world.published for id_ in some] == list(map(id_of, range(300)))


async def test_who_waits_behind_another_and_goes_away_does_nothing(world: RedriveWorld) -> None:
    await world.bury(range(2))
    world.gate.clear()
    first = asyncio.create_task(world.redrive(limit=1))
    await world.publishing.wait()
    purge = asyncio.create_task(world.purge())
    await asyncio.sleep(0)
    purge.cancel()
    with pytest.raises(asyncio.CancelledError):
        await purge
    world.gate.set()
    assert await first == answer(1, more=True)
    await world.redriving.close()
    assert await ids(world.letters) == [1]


async def test_a_kernel_that_stops_says_so(world: RedriveWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redrive_batch, "BATCH_LETTERS", 1)
    await world.bury(range(3))
    world.gate.clear()
    running = asyncio.create_task(world.redrive())
    await world.publishing.wait()
    closing = asyncio.create_task(world.redriving.close())
    await asyncio.sleep(0)
    world.gate.set()
    await closing
    with pytest.raises(KernelStopping):
        await running
    assert await ids(world.letters) == [1, 2]


async def test_a_subscription_that_is_closed_ends_a_redrive(
    world: RedriveWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redrive_batch, "BATCH_LETTERS", 1)
    await world.bury(range(3))
    world.gate.clear()
    running = asyncio.create_task(world.redrive())
    await world.publishing.wait()
    closing = asyncio.create_task(world.letters.close())
    await asyncio.sleep(0)
    assert not closing.done()
    world.gate.set()
    await closing
    with pytest.raises(StoreUnavailable):
        await running
    assert await ids(world.letters) == [1, 2], "what was published is removed"
    with pytest.raises(StoreUnavailable):
        await world.purge()


async def test_an_error_of_a_publish_is_the_callers(world: RedriveWorld) -> None:
    await world.bury([0])
    world.failures[world.topic().name, 0] = InvalidField([])
    with pytest.raises(InvalidField):
        await world.redrive()
    world.failures.clear()
    assert await world.redrive() == answer(1)


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
