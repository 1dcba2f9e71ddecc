from __future__ import annotations

import asyncio

import pytest
from sira.bus.v1.record_pb2 import Record

from sira_grpc.bus import redrive_batch
from sira_grpc.bus.incoming import Incoming, Published
from sira_grpc.bus.redriving import Redriving
from sira_grpc.bus.tenure import not_begun
from sira_grpc.errors import InvalidField, KernelStopping, NotOwner, StoreUnavailable, TopicNotFound
from tests.unit.bus.control_world import DEFAULT
from tests.unit.bus.dead_letter_world import (
    ids,
)
from tests.unit.bus.redrive_world import RedriveWorld, answer, id_of


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


async def test_a_place_at_another_member_does_not_say_that_nothing_was_done(world: RedriveWorld) -> None:
    await world.bury([0])
    await world.bury([1], partition=1)
    world.failures[world.topic().name, 0] = not_begun(DEFAULT, "another member serves it")
    with pytest.raises(NotOwner) as refused:
        await world.redrive()
    assert "executed" not in refused.value.metadata
    assert await ids(world.letters) == [0]


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
