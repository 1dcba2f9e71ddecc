"""Writes of which nobody knows whether they were done, and writes that meet another's: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sira.bus.v1.publish_service_pb2 import PublishRequest
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.subscription_pb2 import StartPosition

from sira_grpc.bus import names
from sira_grpc.errors import Conflict, NotOwner, SiraError, StoreUnavailable
from tests.clocks import NANOS
from tests.unit.bus.control_world import DEFAULT
from tests.unit.bus.members_world import SUBSCRIPTION, TOPIC, Member, Members, log_of, until

EARLIEST = StartPosition(earliest=StartPosition.Earliest())


@pytest.mark.parametrize("fault", ["unknown", "late", "lost"])
async def test_a_frame_that_was_not_answered_is_there_once_if_it_is_sent_again(members: Members, fault: str) -> None:
    a = members.a
    await members.set_up()
    await a.publish_as("p", 1, "0")
    a.store.faults[log_of(a)] = fault
    with pytest.raises(StoreUnavailable) as lost:
        await a.publish_as("p", 2, "1")
    assert lost.value.metadata["outcome"] == "unknown"
    again = await a.publish_as("p", 2, "1")
    assert (again.offset, again.duplicate) == (1, fault == "unknown")
    assert not any(await a.store.let_late_ones_in()), "it is too late"
    assert (await a.publish_as("p", 3, "2")).offset == 2
    assert await a.payloads() == ["0", "1", "2"]


async def test_one_that_comes_late_is_found_by_the_next(members: Members) -> None:
    a = members.a
    await members.set_up()
    await a.publish_as("p", 1, "0")
    a.store.faults[log_of(a)] = "late"
    with pytest.raises(StoreUnavailable):
        await a.publish_as("p", 2, "1")
    assert await a.payloads() == ["0"], "it is open again"
    assert await a.store.let_late_ones_in() == [True]
    with pytest.raises(NotOwner):
        await a.publish_as("p", 2, "1")
    assert (await a.publish_as("p", 2, "1")).duplicate
    assert await a.payloads() == ["0", "1"]


@pytest.mark.parametrize("fault", ["unknown", "late", "lost"])
async def test_a_record_with_an_id_likewise(members: Members, fault: str) -> None:
    a = members.a
    await members.set_up()
    request = PublishRequest(topic=TOPIC, records=[Record(id="x", payload=b"0")])
    a.store.faults[log_of(a)] = fault
    with pytest.raises(StoreUnavailable):
        await a.bus.publishing.publish(request, "tester")
    answer = await a.bus.publishing.publish(request, "tester")
    assert [record.duplicate for record in answer.records] == [fault == "unknown"]
    assert await a.payloads() == ["0"]


async def test_nothing_is_opened_anew_where_it_is_known_that_nothing_was_done(members: Members) -> None:
    a = members.a
    await members.set_up()
    await a.publish_as("p", 1, "0")
    (before,) = a.bus.partitions.opened()
    a.store.faults[log_of(a)] = "none"
    with pytest.raises(StoreUnavailable):
        await a.publish_as("p", 2, "1")
    assert (await a.publish_as("p", 2, "1")).offset == 1
    assert a.bus.partitions.opened() == (before,)


@pytest.mark.parametrize("fault", ["unknown", "late", "lost"])
async def test_what_was_settled_without_an_answer_was_not_confirmed(members: Members, fault: str) -> None:
    a = members.a
    await members.set_up()
    await a.publish("0", "1")
    first = a.subscribe()
    assert await first.offsets(2) == [0, 1]
    a.store.faults[_settlements(a)] = fault
    first.settle("ack", 0, 1)
    assert isinstance(await first.error(), SiraError)
    second = a.subscribe()
    left = [1] if fault == "unknown" else [0, 1]
    assert await second.offsets(len(left)) == left
    await second.ack(0, 2)
    assert not any(await a.store.let_late_ones_in())
    for stream in (first, second):
        await stream.close()


@pytest.mark.parametrize("fault", ["unknown", "late", "lost"])
async def test_what_was_given_up_without_an_answer_is_a_dead_letter_once(members: Members, fault: str) -> None:
    a = members.a
    await members.set_up()
    await a.publish("0")
    first = a.subscribe()
    assert await first.offsets(1) == [0]
    a.store.faults["/dead"] = fault
    first.settle("terminate", 0, 1)
    assert isinstance(await first.error(), SiraError)
    second = a.subscribe()
    if fault != "unknown":
        assert await second.offsets(1) == [0]
        second.settle("terminate", 0, 1)
        await second.settled()
    status = await a.bus.subscription_status(a.bus.view.subscription(SUBSCRIPTION))
    assert (status.dead_letters, status.lag) == (1, 0)
    for stream in (first, second):
        await stream.close()


@pytest.mark.parametrize("fault", ["unknown", "late", "lost"])
async def test_a_scheduled_frame_that_was_not_answered_is_released_once(members: Members, fault: str) -> None:
    a = members.a
    await members.set_up()
    record = Record(id="x", payload=b"later")
    record.deliver_at.FromNanoseconds(members.clock.time_ns() + 60_000_000_000)
    request = PublishRequest(topic=TOPIC, records=[record])
    a.store.faults["/scheduled"] = fault
    with pytest.raises(StoreUnavailable):
        await a.bus.publishing.publish(request, "tester")
    await a.bus.publishing.publish(request, "tester")
    members.clock.advance(61)
    a.store.faults["/released"] = fault
    stream = a.subscribe()
    assert await stream.offsets(1) == [0]
    await stream.error()
    assert await a.payloads() == ["later"]
    await a.publish("after")
    assert await a.payloads() == ["later", "after"]
    await stream.close()


async def _publish(member: Member) -> None:
    await member.publish("x")


async def _schedule(member: Member) -> None:
    record = Record(payload=b"x")
    record.deliver_at.FromNanoseconds(1_800_000_060 * NANOS)
    await member.bus.publishing.publish(PublishRequest(topic=TOPIC, records=[record]), "tester")


async def _mark(member: Member) -> None:
    (opened,) = await member.bus.partitions.all_of(member.bus.view.topic(TOPIC))
    await opened.partition.marks.save(opened.partition.end, 0, 0)


async def _seek(member: Member) -> None:
    await member.bus.seek(SUBSCRIPTION, EARLIEST)


async def _bury(member: Member) -> None:
    stream = member.subscribe()
    try:
        (offset,) = await stream.offsets(1)
        stream.settle("terminate", offset, offset + 1)
        await stream.settled()
    finally:
        await stream.close()


async def _remove(member: Member) -> None:
    letters = await member.bus.dead_letters_of(member.bus.view.subscription(SUBSCRIPTION))
    await letters.remove([letters.next + 5])


WRITERS: dict[str, Callable[[Member], Awaitable[None]]] = {
    "/log": _publish,
    "/scheduled": _schedule,
    "/marks": _mark,
    "/0": _seek,
    "/dead": _bury,
    "/dead-removed": _remove,
}


@pytest.mark.parametrize("log", WRITERS)
async def test_a_write_that_meets_anothers_ends_the_tenure_and_nothing_else(members: Members, log: str) -> None:
    a, write = members.a, WRITERS[log]
    await members.set_up()
    await a.publish("0")
    await a.bus.subscription_status(a.bus.view.subscription(SUBSCRIPTION))
    (before,) = a.bus.partitions.opened()
    a.store.errors[log] = Conflict("another offset is next")
    with pytest.raises(NotOwner):
        await write(a)
    await write(a)
    (after,) = a.bus.partitions.opened()
    assert after is not before
    assert before.tenure.over
    assert (await a.payloads())[0] == "0"


async def test_records_for_several_partitions_of_which_some_are_stored_were_not_refused(members: Members) -> None:
    a = members.a
    await members.set_up(partitions=8)
    records = [Record(key=str(number).encode()) for number in range(100)]
    a.store.errors[log_of(a, partition=3)] = Conflict("another offset is next")
    # Others of them may be written before, or refused after.
    with pytest.raises((NotOwner, StoreUnavailable)) as refused:
        await a.bus.publishing.publish(PublishRequest(topic=TOPIC, records=records), "tester")
    stored = len(await a.payloads())
    assert isinstance(refused.value, StoreUnavailable if stored else NotOwner)


async def test_a_store_that_cannot_be_written_is_asked_again_and_again(members: Members) -> None:
    a, b = members.a, members.b
    await members.set_up(partitions=3)
    await a.publish("0")
    members.believe(a, "b")
    await until(lambda: not members.owner())
    b.store.faults = {"/dead": "none"}
    members.believe(b, "b")
    await until(lambda: not b.store.faults and len(b.bus.active.opened()) == 1)
    stream = b.subscribe()
    assert await stream.offsets(1) == [0]
    await stream.close()


async def test_a_source_that_could_not_be_opened_is_opened_later(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sira_grpc.bus.active_subscription.LOOK_AGAIN_SECONDS", 0)
    a = members.a
    await members.set_up()
    await a.publish("0")
    members.agree("")
    await until(lambda: not members.owner())
    a.store.faults[_settlements(a)] = "none"
    members.agree("a")
    stream = a.subscribe()
    assert await stream.offsets(1) == [0]
    await stream.close()


def _settlements(member: Member) -> str:
    view = member.bus.view
    return names.settlements_of(view.subscription(SUBSCRIPTION).uid, view.topic(TOPIC).uid, 0)


async def test_who_asks_meanwhile_waits_until_it_is_open_again(members: Members) -> None:
    a = members.a
    await members.set_up()
    a.store.faults[log_of(a)] = "lost"
    asked = [asyncio.create_task(a.publish_as(f"p{number}", 1, str(number))) for number in range(20)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert all(not isinstance(outcome, BaseException) or isinstance(outcome, SiraError) for outcome in outcomes)
    stored = {number for number, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)}
    for number in range(20):
        assert (await a.publish_as(f"p{number}", 1, str(number))).duplicate is (number in stored)
    assert sorted(await a.payloads()) == sorted(map(str, range(20)))
    assert members.owner() == "a"
    assert a.bus.owned_namespaces == (DEFAULT,)
