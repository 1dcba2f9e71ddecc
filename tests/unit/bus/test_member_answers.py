"""What a member answers that is not the owner, or not any more, or has not heard of everything yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sira.bus.v1 import subscription_service_pb2, topic_service_pb2
from sira.bus.v1.publish_service_pb2 import PublishFramesRequest
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.subscription_pb2 import Subscription
from sira.bus.v1.topic_pb2 import Topic
from sira_client.frames import checksum, pack

from sira_grpc.bus.tenure import not_begun
from sira_grpc.errors import NamespaceNotFound, NotOwner, SubscriptionNotFound, TopicNotFound
from sira_grpc.rpc.subscription_servicer import SubscriptionServicer
from sira_grpc.rpc.topic_servicer import TopicServicer
from tests.unit.bus.control_world import DEFAULT, OTHER, ControlWorld, subscription, topic
from tests.unit.bus.members_world import EARLIEST, SUBSCRIPTION, TOPIC, Member, Members, until

CONTEXT = cast(Any, None)
ENTRIES: dict[str, Callable[[Member], Awaitable[object]]] = {
    "publish": lambda member: member.publish("0"),
    "frames": lambda member: member.publish_as("p", 1, "0"),
    "create": lambda member: member.bus.topics.create(Topic(name=f"{DEFAULT}/topics/new")),
    "delete": lambda member: member.bus.topics.delete(TOPIC, etag="", force=True),
    "pause": lambda member: member.bus.subscriptions.pause(SUBSCRIPTION),
    "seek": lambda member: member.bus.seek(SUBSCRIPTION, EARLIEST),
    "status": lambda member: member.bus.topic_status(member.bus.view.topic(TOPIC)),
}


@pytest.mark.parametrize("entry", ENTRIES)
async def test_who_is_refused_at_the_entry_is_told_that_nothing_was_done(members: Members, entry: str) -> None:
    await members.set_up()
    with pytest.raises(NotOwner) as refused:
        await ENTRIES[entry](members.b)
    assert refused.value.metadata["executed"] == "no"


async def test_what_ends_a_stream_does_not_say_so(members: Members) -> None:
    await members.set_up()
    await members.a.publish("0")
    streams = [members.a.subscribe(), members.a.tail()]
    for stream in streams:
        assert await stream.offsets(1) == [0]
    members.agree("b")
    for stream in streams:
        error = await stream.error()
        assert isinstance(error, NotOwner)
        assert "executed" not in error.metadata
        await stream.close()


async def test_a_frame_for_another_member_behind_one_that_was_stored_does_not_say_so(members: Members) -> None:
    for member in (members.a, members.b):
        member.placement.set("a", {"a", "b"}, other="b")
    await members.set_up()
    data = pack([Record(payload=b"x")])

    async def requests() -> AsyncIterator[PublishFramesRequest]:
        for name in (TOPIC, f"{OTHER}/topics/t"):
            yield PublishFramesRequest(topic=name, frame=data, checksum=checksum(data))

    answers = members.a.bus.publishing.stream(requests(), "tester")
    assert (await anext(answers)).offset == 0
    with pytest.raises(NotOwner) as refused:
        await anext(answers)
    assert "executed" not in refused.value.metadata


async def test_a_command_that_is_done_is_answered_without_a_status_that_cannot_be_had(
    members: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = members.a.bus
    await members.set_up()

    async def gone(entry: object) -> Any:
        raise not_begun(DEFAULT, "another member serves it")

    monkeypatch.setattr(bus, "topic_status", gone)
    monkeypatch.setattr(bus, "subscription_status", gone)
    topics, subscriptions = TopicServicer(bus), SubscriptionServicer(bus)
    new = Topic(name=f"{DEFAULT}/topics/new")
    created = await topics.CreateTopic(topic_service_pb2.CreateTopicRequest(topic=new), CONTEXT)
    assert (created.topic.etag, created.topic.HasField("status")) == (str(members.raw.revision), False)
    paused = await subscriptions.PauseSubscription(
        subscription_service_pb2.PauseSubscriptionRequest(name=SUBSCRIPTION), CONTEXT
    )
    assert (paused.subscription.paused, paused.subscription.HasField("status")) == (True, False)
    with pytest.raises(NotOwner):
        await topics.GetTopic(topic_service_pb2.GetTopicRequest(name=TOPIC), CONTEXT)


def _overtake(control: ControlWorld, monkeypatch: pytest.MonkeyPatch, other: Callable[[], Awaitable[object]]) -> None:
    """Has something else done between the next commit and its answer."""
    apply = control.commits.apply

    async def overtaken(plan: Any) -> int:
        revision = await apply(plan)
        monkeypatch.undo()
        await other()
        return revision

    monkeypatch.setattr(control.commits, "apply", overtaken)


async def test_a_topic_is_answered_as_it_was_written(control: ControlWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{DEFAULT}/topics/orders"
    _overtake(control, monkeypatch, lambda: control.topics.clear(name))
    created = await control.topics.create(topic())
    assert (created.name, created.message.etag) == (name, str(created.revision))
    before = await control.topic()
    mask = FieldMask(paths=["description"])
    _overtake(control, monkeypatch, lambda: control.topics.update(Topic(name=name, description="2"), mask))
    written = await control.topics.update(Topic(name=name, description="1"), mask)
    assert (written.message.description, written.uid) == ("1", before.uid)
    assert written.message.etag == str(written.revision) != control.view.topic(name).message.etag


async def test_a_subscription_is_answered_as_it_was_written(
    control: ControlWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{DEFAULT}/subscriptions/billing"
    _overtake(control, monkeypatch, lambda: control.subscriptions.clear(name))
    created = await control.subscriptions.create(subscription())
    assert (created.name, created.message.etag) == (name, str(created.revision))
    before = await control.subscription()
    _overtake(control, monkeypatch, lambda: control.subscriptions.resume(name))
    paused = await control.subscriptions.pause(name)
    assert (paused.message.paused, paused.uid) == (True, before.uid)
    again = await control.subscriptions.resume(name)
    assert (again.message.paused, again.message.etag) == (False, control.view.subscription(name).message.etag)
    mask = FieldMask(paths=["description"])
    _overtake(control, monkeypatch, lambda: control.subscriptions.clear(name))
    written = await control.subscriptions.update(Subscription(name=name, description="1"), mask)
    assert written.message.description == "1"


async def test_a_namespace_that_has_just_come_at_another_member(members: Members) -> None:
    bus, new = members.a.bus, "namespaces/new"
    with pytest.raises(NamespaceNotFound):
        await bus.topics.create(Topic(name=f"{new}/topics/t"))

    async def caught_up(revision: int) -> None:
        members.neighbours.namespaces.add(new)

    bus.namespaces_caught_up = caught_up
    await bus.topics.create(Topic(name=f"{new}/topics/t"))
    await bus.subscriptions.create(Subscription(name=f"{new}/subscriptions/s", topics=["t"]))
    assert (await bus.topics.list(new, pattern="", size=10, token=""))[0]


LOOKS: dict[str, Callable[[Member], Awaitable[object]]] = {
    "publish": lambda member: member.publish("0"),
    "frames": lambda member: member.publish_as("p", 1, "0"),
    "topic": lambda member: member.bus.topic(TOPIC),
    "subscription": lambda member: member.bus.subscription(SUBSCRIPTION),
    "seek": lambda member: member.bus.seek(SUBSCRIPTION, EARLIEST),
}


@pytest.mark.parametrize("look", LOOKS)
async def test_what_another_member_has_just_created(members: Members, look: str) -> None:
    a, b = members.a, members.b
    b.store.stop()
    b.store.go_on(blind=True)
    await a.bus.topics.create(Topic(name=TOPIC))
    await a.bus.subscriptions.create(Subscription(name=SUBSCRIPTION, topics=["t"]))
    members.agree("b")
    asked = asyncio.ensure_future(LOOKS[look](b))
    await until(lambda: not members.owner())
    assert not asked.done()
    b.store.go_on()
    async with asyncio.timeout(30):
        await asked


async def test_what_nobody_has_created(members: Members) -> None:
    with pytest.raises(TopicNotFound):
        await members.a.publish("0")
    stream = members.a.subscribe()
    assert isinstance(await stream.error(), SubscriptionNotFound)
    await stream.close()
