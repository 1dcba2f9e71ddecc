"""A namespace goes from one member to another: by agreement, because one is dead, or while it knows of nothing."""

from __future__ import annotations

import asyncio

import pytest
from sira.bus.v1.dead_letter_service_pb2 import DeadLetterFilter, PurgeDeadLettersRequest
from sira.bus.v1.publish_service_pb2 import PublishRequest
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.subscription_pb2 import StartPosition
from sira.bus.v1.topic_pb2 import Durability, Topic

from sira_grpc.bus import names, ownership
from sira_grpc.errors import NotOwner, StoreUnavailable, TopicNotFound
from tests.unit.bus.control_world import DEFAULT, OTHER
from tests.unit.bus.members_world import SUBSCRIPTION, TOPIC, Members, log_of, offsets_of, until

MEMORY = f"{DEFAULT}/topics/m"
EVERYTHING = DeadLetterFilter()


async def test_it_is_handed_over_by_agreement(members: Members) -> None:
    a, b = members.a, members.b
    await members.set_up()
    assert await a.publish("0", "1", "2") == [0, 1, 2]
    await a.publish_as("p", 1, "3")
    first, tail = a.subscribe(), a.tail()
    assert await first.offsets(4) == [0, 1, 2, 3]
    assert await tail.offsets(4) == [0, 1, 2, 3]
    await first.ack(0, 2)
    members.agree("b")
    assert isinstance(await first.error(), NotOwner)
    assert isinstance(await tail.error(), NotOwner)
    for attempt in (a.publish("x"), a.publish_as("p", 2, "x"), a.bus.seek(SUBSCRIPTION, StartPosition())):
        with pytest.raises(NotOwner) as refused:
            await attempt
        assert refused.value.retry_after
    second = b.subscribe()
    delivery = await second.delivery()
    assert (offsets_of(delivery), delivery.attempt) == ([2], 1), "it was not in vain"
    assert await second.offsets(1) == [3]
    assert (await b.publish_as("p", 1, "3")).duplicate
    assert (await b.publish_as("p", 2, "4")).offset == 4
    await until(lambda: members.owner() == "b")
    assert (a.bus.owned_namespaces, b.bus.owned_namespaces) == ((), (DEFAULT,))
    for stream in (first, tail, second):
        await stream.close()


async def test_it_comes_back_afresh(members: Members) -> None:
    await members.set_up()
    for turn in range(6):
        member = (members.a, members.b)[turn % 2]
        members.agree(member.name)
        assert await member.publish(str(turn)) == [turn]
    assert await members.b.payloads() == [str(turn) for turn in range(6)]


async def test_what_is_under_way_is_finished_before_it_is_handed_over(members: Members) -> None:
    a, b = members.a, members.b
    await members.set_up()
    await a.publish("0")
    a.store.stop()
    publishing = asyncio.create_task(a.publish("1"))
    await a.store.arrived()
    members.agree("b")
    assert members.owner() == "a", "b waits for it"
    a.store.go_on()
    assert await publishing == [1]
    assert await b.payloads() == ["0", "1"]
    marks = names.marks_of(a.bus.view.topic(TOPIC).uid, 0)
    assert (await members.raw.range(marks)).next == 1, "a mark, so that it opens at once"


async def test_it_is_taken_from_a_member_that_is_dead(members: Members) -> None:
    a, b = members.a, members.b
    await members.set_up()
    await a.publish("0")
    first = a.subscribe()
    assert await first.offsets(1) == [0]
    await first.ack(0, 1)
    a.store.stop()
    members.believe(b, "b", live="b")
    await b.publish("1")
    second = b.subscribe()
    assert await second.offsets(1) == [1]
    await second.close()
    a.store.go_on()
    assert isinstance(await first.error(), NotOwner), "it has noticed, though its placement says that it is its own"
    await first.close()


async def test_it_is_taken_from_one_that_is_live_and_does_not_let_go(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    await members.set_up()
    await members.a.publish("0")
    monkeypatch.setattr(ownership, "HANDOVER_SECONDS", 0.05)
    members.believe(members.b, "b")
    assert await members.b.publish("1") == [1]
    assert members.owner() in {"a", "b"}
    members.believe(members.a, "b")
    await until(lambda: members.owner() == "b")


async def test_what_a_stopped_member_would_confirm_it_cannot_once_it_was_taken_over(members: Members) -> None:
    a, b = members.a, members.b
    await members.set_up()
    await a.publish("0", "1", "2")
    first = a.subscribe()
    assert await first.offsets(3) == [0, 1, 2]
    await first.ack(0, 1)
    a.store.stop()
    first.settle("ack", 1, 2)
    await a.store.arrived()
    members.believe(b, "b", live="b")
    second = b.subscribe()
    assert await second.offsets(2) == [1, 2]
    a.store.go_on(blind=True)  # it does not know yet
    assert isinstance(await first.error(), NotOwner)
    await second.ack(1, 3)
    for stream in (first, second):
        await stream.close()


async def test_what_a_stopped_member_stores_before_anything_else_is_found(members: Members) -> None:
    a, b = members.a, members.b
    await members.set_up()
    await a.publish("0")
    a.store.stop()
    publishing = asyncio.create_task(a.publish("1"))
    await a.store.arrived()
    members.believe(b, "b", live="b")
    second = b.subscribe()
    assert await second.offsets(1) == [0]
    a.store.go_on(blind=True)
    assert await publishing == [1], "nobody has appended to it since"
    for opened in b.bus.partitions.opened():
        await b.bus._upkeep.find_strays(opened)
    assert isinstance(await second.error(), NotOwner)
    again = b.subscribe()
    assert await again.offsets(2) == [0, 1]
    for stream in (second, again):
        await stream.close()


async def test_what_a_stopped_member_publishes_after_its_successor_is_refused(members: Members) -> None:
    a, b = members.a, members.b
    await members.set_up()
    await a.publish_as("p", 1, "0")
    a.store.stop()
    publishing = asyncio.create_task(a.publish_as("p", 2, "1"))
    await a.store.arrived()
    members.believe(b, "b", live="b")
    assert (await b.publish_as("p", 2, "1")).offset == 1
    a.store.go_on(blind=True)
    with pytest.raises(NotOwner):
        await publishing
    assert await b.payloads() == ["0", "1"]


async def test_what_a_stopped_member_gives_up_or_purges_it_does_not_once_it_was_taken_over(members: Members) -> None:
    a, b = members.a, members.b
    await members.set_up()
    await a.publish("0", "1")
    first = a.subscribe()
    assert await first.offsets(2) == [0, 1]
    first.settle("terminate", 0, 1)
    await first.settled()
    a.store.stop()
    first.settle("terminate", 1, 2)
    entry = a.bus.view.subscription(SUBSCRIPTION)
    letters = await a.bus.dead_letters_of(entry)
    purging = asyncio.create_task(a.bus.redriving.purge(letters, PurgeDeadLettersRequest(parent=SUBSCRIPTION)))
    await a.store.arrived()
    members.believe(b, "b", live="b")
    second = b.subscribe()
    assert await second.offsets(1) == [1]
    a.store.go_on(blind=True)
    assert isinstance(await first.error(), NotOwner)
    with pytest.raises((NotOwner, StoreUnavailable)):
        await purging
    second.settle("terminate", 1, 2)
    await second.settled()
    there, _ = await (await b.bus.dead_letters_of(b.bus.view.subscription(SUBSCRIPTION))).list(
        EVERYTHING, size=10, token=""
    )
    assert [letter.offset for letter in there] == [0, 1], "those that fence are nowhere to be seen"
    status = await b.bus.subscription_status(b.bus.view.subscription(SUBSCRIPTION))
    assert (status.dead_letters, status.lag) == (2, 0)
    for stream in (first, second):
        await stream.close()


async def test_a_fence_that_was_not_removed_is_removed_by_the_next(members: Members) -> None:
    await members.set_up()
    members.agree("")
    await until(lambda: not members.owner())
    members.b.store.faults["dead-removed"] = "lost"
    members.agree("b")
    entry = members.b.bus.view.subscription(SUBSCRIPTION)
    with pytest.raises(StoreUnavailable):
        await members.b.bus.subscription_status(entry)
    assert (await members.b.bus.subscription_status(entry)).dead_letters == 0
    assert (await members.raw.range(names.dead_of(entry.uid))).next >= 2
    letters = await members.b.bus.dead_letters_of(entry)
    assert await letters.list(EVERYTHING, size=10, token="") == ([], "")


async def test_what_is_in_memory_is_lost_with_the_member_and_kept_by_it(members: Members) -> None:
    a, b = members.a, members.b
    await members.set_up()
    await a.bus.topics.create(Topic(name=MEMORY, durability=Durability.DURABILITY_MEMORY))
    assert await a.publish("0", "1", topic=MEMORY) == [0, 1]
    a.store.faults[log_of(a)] = "lost"
    with pytest.raises(StoreUnavailable):
        await a.publish("x")
    assert await a.payloads(MEMORY) == ["0", "1"], "it is opened anew by the same member"
    members.agree("b")
    await b.bus.view.caught_up(members.raw.revision)
    assert await b.publish("2", topic=MEMORY) == [0]
    members.agree("a")
    assert await a.payloads(MEMORY) == []


async def test_commands_are_for_the_owner(members: Members) -> None:
    a, b = members.a, members.b
    await members.set_up()
    made = Topic(name=f"{DEFAULT}/topics/new")
    with pytest.raises(NotOwner):
        await b.bus.topics.create(made)
    with pytest.raises(NotOwner):
        await b.bus.topics.delete(TOPIC, etag="", force=True)
    with pytest.raises(NotOwner):
        await b.bus.subscriptions.pause(SUBSCRIPTION)
    with pytest.raises(NotOwner):
        await b.bus.topics.list(DEFAULT, pattern="", size=10, token="")
    with pytest.raises(NotOwner):
        await b.bus.topic_status(b.bus.view.topic(TOPIC))
    with pytest.raises(NotOwner):
        await b.bus.dead_letters_of(b.bus.view.subscription(SUBSCRIPTION))
    assert isinstance(await b.subscribe().error(), NotOwner)
    assert isinstance(await b.tail().error(), NotOwner)
    assert a.bus.view.topic(TOPIC)


async def test_a_namespace_is_cleared_at_any_member(members: Members) -> None:
    a, b = members.a, members.b
    await members.set_up()
    await a.publish("0")
    stream, log = a.subscribe(), log_of(a)
    assert await stream.offsets(1) == [0]
    await b.bus.tenant.clear(DEFAULT)
    await stream.error()
    with pytest.raises(TopicNotFound):
        await a.publish("1")
    await until(lambda: not a.bus.view.trash)
    assert (await members.raw.range(log)).next == 0, "its owner has deleted the logs"
    await stream.close()


async def test_each_namespace_has_an_owner_of_its_own(members: Members) -> None:
    a, b = members.a, members.b
    for member in (a, b):
        member.placement.set("a", {"a", "b"}, other="b")
    await members.set_up()
    await b.bus.topics.create(Topic(name=f"{OTHER}/topics/t"))
    await b.publish("1", topic=f"{OTHER}/topics/t")
    await a.publish("0")
    assert (a.bus.owned_namespaces, b.bus.owned_namespaces) == ((DEFAULT,), (OTHER,))


async def test_what_is_scheduled_is_released_by_whoever_has_it(members: Members) -> None:
    a, b = members.a, members.b
    await members.set_up()
    later = Record(payload=b"later")
    later.deliver_at.FromNanoseconds(members.clock.time_ns() + 60_000_000_000)
    await a.bus.publishing.publish(_request(later), "tester")
    members.agree("b")
    await until(lambda: b.bus.owned_namespaces == (DEFAULT,))
    members.clock.advance(61)
    stream = b.subscribe()
    assert await stream.offsets(1) == [0]
    assert await b.payloads() == ["later"]
    await stream.close()


def _request(record: Record) -> PublishRequest:
    return PublishRequest(topic=TOPIC, records=[record])
