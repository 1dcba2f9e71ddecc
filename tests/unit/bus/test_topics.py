"""Topics: commands that change what is stored, or leave everything as it was."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from sira.bus.v1.topic_pb2 import Compaction, Durability, Retention, Topic, TopicLimits, TopicStatus

from sira_grpc.bus import names
from sira_grpc.errors import (
    AlreadyExists,
    EtagMismatch,
    InvalidField,
    InvalidFieldMask,
    InvalidPageToken,
    LimitExceeded,
    NamespaceNotFound,
    NotEmpty,
    TopicNotFound,
)
from sira_grpc.times import timestamp
from tests.clocks import FakeClock
from tests.unit.bus.control_world import DEFAULT, OTHER, ControlWorld, topic

NAME = f"{DEFAULT}/topics/orders"


async def delete(control: ControlWorld, name: str = NAME, *, etag: str = "", force: bool = False) -> None:
    await control.topics.delete(name, etag=etag, force=force)


async def test_a_topic_is_stored_as_it_was_given(control: ControlWorld, clock: FakeClock) -> None:
    given = Topic(
        name=NAME,
        description="what was bought",
        partitions=4,
        durability=Durability.DURABILITY_MEMORY,
        etag="whatever",
        status=TopicStatus(),
        create_time=timestamp(1),
        update_time=timestamp(1),
    )
    entry = await control.topics.create(given)
    now = timestamp(clock.time_ns())
    assert entry.message == Topic(
        name=NAME,
        description="what was bought",
        partitions=4,
        durability=Durability.DURABILITY_MEMORY,
        etag=str(entry.revision),
        create_time=now,
        update_time=now,
    )
    assert len(bytes.fromhex(entry.uid)) == 8
    assert given.etag == "whatever"


async def test_a_name_is_taken_once(control: ControlWorld) -> None:
    entry = await control.topic()
    with pytest.raises(AlreadyExists) as refused:
        await control.topic()
    assert refused.value.metadata == {"resource": NAME}
    assert control.view.topic(NAME) is entry
    await control.topic(namespace=OTHER)


async def test_of_those_who_create_one_at_the_same_time_one_does(control: ControlWorld) -> None:
    done = await asyncio.gather(*(control.topic() for _ in range(10)), return_exceptions=True)
    refused = [outcome for outcome in done if isinstance(outcome, AlreadyExists)]
    assert len(refused) == 9
    assert len(control.view.topics) == 1


async def test_a_namespace_must_be_there(control: ControlWorld) -> None:
    with pytest.raises(NamespaceNotFound):
        await control.topic(namespace="namespaces/none")
    with pytest.raises(NamespaceNotFound):
        await control.topics.list("namespaces/none", pattern="", size=0, token="")
    assert not control.view.topics


async def test_a_namespace_holds_so_many_and_no_more(control: ControlWorld) -> None:
    limit = control.config.max_topics_per_namespace
    coming = (control.topic(f"t{number}") for number in range(limit + 5))
    done = await asyncio.gather(*coming, return_exceptions=True)
    refused = [outcome for outcome in done if isinstance(outcome, LimitExceeded)]
    assert len(refused) == 5
    assert refused[0].metadata == {
        "limit": "bus.max_topics_per_namespace",
        "value": str(limit),
        "resource": DEFAULT,
    }
    assert len(control.view.topics) == limit
    await control.topic(namespace=OTHER)
    with pytest.raises(AlreadyExists):
        await control.topic("t0")
    await delete(control, f"{DEFAULT}/topics/t0")
    await control.topic("t0")


async def test_a_name_has_a_length(control: ControlWorld) -> None:
    await control.topic("a." * 99 + "bc")
    with pytest.raises(InvalidField) as refused:
        await control.topic("a." * 100 + "b")
    assert [violation.field for violation in refused.value.violations] == ["topic.name"]
    assert len(control.view.topics) == 1


async def test_what_is_in_memory_cannot_be_compacted(control: ControlWorld) -> None:
    fleeting = Topic(name=NAME, durability=Durability.DURABILITY_MEMORY, compaction=Compaction())
    with pytest.raises(InvalidField) as refused:
        await control.topics.create(fleeting)
    assert [violation.field for violation in refused.value.violations] == ["topic.compaction"]
    assert not control.view.topics
    await control.topics.create(Topic(name=NAME, durability=Durability.DURABILITY_MEMORY))
    with pytest.raises(InvalidField):
        await control.topics.update(fleeting, FieldMask(paths=["compaction"]))
    assert not control.view.topic(NAME).message.HasField("compaction")


async def test_an_update_writes_what_the_mask_names(control: ControlWorld, clock: FakeClock) -> None:
    before = await control.topics.create(
        Topic(name=NAME, description="old", partitions=2, retention=Retention(max_bytes=5, max_records=6))
    )
    created, uid = before.message.create_time.ToNanoseconds(), before.uid
    clock.advance(5)
    given = Topic(
        name=NAME,
        description="new",
        partitions=9,
        durability=Durability.DURABILITY_MEMORY,
        retention=Retention(max_bytes=7, max_age=Duration(seconds=1)),
        limits=TopicLimits(max_record_bytes=3),
    )
    entry = await control.topics.update(given, FieldMask(paths=["description", "retention.max_bytes"]))
    assert entry.message == Topic(
        name=NAME,
        description="new",
        partitions=2,
        retention=Retention(max_bytes=7, max_records=6),
        etag=str(entry.revision),
        create_time=timestamp(created),
        update_time=timestamp(clock.time_ns()),
    )
    assert entry.uid == uid
    assert entry.settings.max_bytes == 7
    everything = await control.topics.update(given, FieldMask())
    assert everything.message.retention == given.retention
    assert everything.message.limits == given.limits
    assert everything.message.partitions == 2
    assert everything.message.durability == Durability.DURABILITY_UNSPECIFIED
    await control.restart()
    assert control.view.topic(NAME).message == everything.message


@pytest.mark.parametrize("path", ["partitions", "durability", "name", "create_time", "status", "etag", "nonsense"])
async def test_what_cannot_be_changed_is_not(control: ControlWorld, path: str) -> None:
    entry = await control.topic()
    revision = entry.revision
    with pytest.raises(InvalidFieldMask):
        await control.topics.update(Topic(name=NAME, partitions=3), FieldMask(paths=[path]))
    assert entry.revision == revision


async def test_what_comes_out_of_an_update_keeps_the_rules(control: ControlWorld) -> None:
    entry = await control.topic()
    revision = entry.revision
    bad = Topic(name=NAME, limits=TopicLimits(max_record_bytes=2 << 20))
    with pytest.raises(InvalidField) as refused:
        await control.topics.update(bad, FieldMask(paths=["limits"]))
    assert [violation.field for violation in refused.value.violations] == ["topic.limits.max_record_bytes"]
    assert entry.revision == revision


@pytest.mark.parametrize("mask", [FieldMask(), FieldMask(paths=["description"])])
async def test_an_etag_is_the_stored_one_or_none(control: ControlWorld, mask: FieldMask) -> None:
    entry = await control.topic()
    etag = entry.message.etag
    await control.topics.update(Topic(name=NAME, description="1", etag=etag), mask)
    with pytest.raises(EtagMismatch):
        await control.topics.update(Topic(name=NAME, description="2", etag=etag), mask)
    with pytest.raises(EtagMismatch):
        await delete(control, etag=etag)
    assert entry.message.description == "1"
    await delete(control, etag=entry.message.etag)
    assert not control.view.topics


async def test_updates_at_the_same_time_are_all_done(control: ControlWorld) -> None:
    entry = await control.topic()
    masks = [FieldMask(paths=["description"]), FieldMask(paths=["limits.records_per_second"])]
    given = Topic(name=NAME, description="both", limits=TopicLimits(records_per_second=3))
    await asyncio.gather(*(control.topics.update(given, mask) for mask in masks))
    assert (entry.message.description, entry.message.limits.records_per_second) == ("both", 3)


@pytest.mark.parametrize("command", ["update", "delete"])
async def test_what_is_not_there_is_not_changed(control: ControlWorld, command: str) -> None:
    with pytest.raises(TopicNotFound) as refused:
        await (control.topics.update(topic(), FieldMask()) if command == "update" else delete(control))
    assert refused.value.metadata == {"resource": NAME}


async def test_records_are_deleted_with_force_only(control: ControlWorld) -> None:
    await control.topic()
    control.neighbours.held[NAME] = 3
    with pytest.raises(NotEmpty, match="3 records") as refused:
        await delete(control)
    assert refused.value.metadata == {"resource": NAME}
    assert NAME in control.view.topics
    assert not control.view.trash
    await delete(control, force=True)
    assert NAME not in control.view.topics


async def test_a_deleted_topic_leaves_its_logs_as_trash_in_the_same_commit(control: ControlWorld) -> None:
    entry = await control.topic(partitions=2)
    readers = [await control.subscription("one", ">"), await control.subscription("two", "orders")]
    await control.subscription("none", "bills")
    before = control.store.revision
    await delete(control)
    watch = control.store.watch("bus/", after=before)
    commit = await anext(watch)
    await watch.aclose()
    assert [(change.key, change.value is None) for change in commit.changes] == [
        (names.topic_key(NAME), True),
        (names.trash_key(f"default/{entry.uid}"), False),
    ]
    uid = entry.uid
    assert control.trash() == {
        *(log for p in (0, 1) for log in names.logs_of(uid, p)),
        *(f"bus/{reader.uid}/{uid}/{p}" for p in (0, 1) for reader in readers),
    }


async def test_a_topic_that_is_written_while_its_records_are_counted_is_looked_at_again(control: ControlWorld) -> None:
    entry = await control.topic()
    etag = entry.message.etag

    async def write() -> None:
        await control.topics.update(Topic(name=NAME, description="new"), FieldMask(paths=["description"]))

    control.neighbours.asked = write
    with pytest.raises(EtagMismatch):
        await delete(control, etag=etag)
    assert control.view.topic(NAME) is entry
    control.neighbours.asked = write
    await delete(control)
    assert NAME not in control.view.topics


async def test_a_topic_that_was_created_again_meanwhile_stays(control: ControlWorld) -> None:
    await control.topic()

    async def again() -> None:
        await delete(control, force=True)
        await control.topic()

    control.neighbours.asked = again
    with pytest.raises(TopicNotFound):
        await delete(control)
    assert NAME in control.view.topics
    assert len(control.view.trash) == 1


async def test_a_command_goes_on_when_its_caller_does_not(control: ControlWorld) -> None:
    creating = asyncio.create_task(control.topic())
    await asyncio.sleep(0)
    creating.cancel()
    await asyncio.gather(creating, return_exceptions=True)
    await control.commits.close()
    assert NAME in control.view.topics


async def listed(control: ControlWorld, *, pattern: str = "", size: int = 0, token: str = "") -> tuple[list[str], str]:
    page, token = await control.topics.list(DEFAULT, pattern=pattern, size=size, token=token)
    return [names.short(message.name) for message in page], token


async def test_topics_are_listed_by_name_in_pages(control: ControlWorld) -> None:
    for short in ("b", "a.z", "a", "c", "a.b"):
        await control.topic(short)
    await control.topic("x", namespace=OTHER)
    assert await listed(control) == (["a", "a.b", "a.z", "b", "c"], "")
    page, token = await listed(control, size=2)
    assert page == ["a", "a.b"]
    await delete(control, f"{DEFAULT}/topics/a.b")
    page, token = await listed(control, size=2, token=token)
    assert page == ["a.z", "b"]
    assert await listed(control, size=2, token=token) == (["c"], "")


async def test_topics_are_listed_by_pattern(control: ControlWorld) -> None:
    for short in ("a", "a.b", "a.c", "a.b.c", "b.b"):
        await control.topic(short)
    assert await listed(control, pattern="a.*") == (["a.b", "a.c"], "")
    page, token = await listed(control, pattern="a.>", size=1)
    assert page == ["a.b"]
    assert await listed(control, pattern="a.>", token=token) == (["a.b.c", "a.c"], "")
    with pytest.raises(InvalidPageToken):
        await listed(control, pattern="a.*", token=token)
    assert await listed(control, pattern="x") == ([], "")


async def test_an_empty_namespace_is_no_unknown_one(control: ControlWorld) -> None:
    assert await listed(control) == ([], "")
