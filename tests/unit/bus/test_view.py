"""The view: what it shows of the store, and what it tells of changes."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sira.bus.internal.v1.topic_record_pb2 import TopicRecord
from sira.bus.v1.topic_pb2 import Topic, TopicLimits

from sira_grpc.bus import names
from sira_grpc.bus.names import Pattern
from sira_grpc.bus.view import BusView, TopicEntry
from sira_grpc.errors import KernelStopping, SubscriptionNotFound, TopicNotFound
from sira_grpc.store.api import Change, Commit, Delete, Entry, Put, Snapshot
from tests.unit.bus.control_world import DEFAULT, OTHER, ControlWorld

ORDERS = f"{DEFAULT}/topics/orders"
KEY = names.topic_key(ORDERS)


def record(uid: str, description: str = "") -> bytes:
    return TopicRecord(topic=Topic(name=ORDERS, description=description), uid=uid).SerializeToString()


def told(view: BusView) -> list[str]:
    """What the hooks of topics are told, from here on."""
    said: list[str] = []
    view.hooks.topic_written.append(lambda entry: said.append(f"written {entry.uid} {entry.message.description}"))
    view.hooks.topic_gone.append(lambda entry: said.append(f"gone {entry.uid}"))
    return said


async def test_it_shows_what_a_store_holds(control: ControlWorld) -> None:
    topic = await control.topic("orders.eu", partitions=3)
    reader = await control.subscription("billing", "orders.*")
    await control.restart()
    found = control.view.topic(topic.name)
    assert found is not topic
    assert (found.message, found.uid, found.revision) == (topic.message, topic.uid, topic.revision)
    assert found.message.etag == str(found.revision)
    assert found.settings.partitions == 3
    assert control.view.topics_by_uid == {topic.uid: found}
    same = control.view.subscription(reader.name)
    assert (same.message, same.uid, same.revision) == (reader.message, reader.uid, reader.revision)
    assert same.starts == reader.starts == {(topic.uid, 0): 100, (topic.uid, 1): 101, (topic.uid, 2): 102}
    assert control.view.subscriptions_by_uid == {reader.uid: same}


async def test_what_is_not_there_is_named(control: ControlWorld) -> None:
    with pytest.raises(TopicNotFound) as topic:
        control.view.topic(ORDERS)
    assert topic.value.metadata == {"resource": ORDERS}
    with pytest.raises(SubscriptionNotFound) as subscription:
        control.view.subscription(f"{DEFAULT}/subscriptions/s")
    assert subscription.value.metadata == {"resource": f"{DEFAULT}/subscriptions/s"}


async def test_topics_and_those_who_read_them_find_each_other(control: ControlWorld) -> None:
    for short in ("orders", "orders.eu", "orders.us", "bills.eu"):
        await control.topic(short)
    await control.topic("orders.eu", namespace=OTHER)
    every = await control.subscription("every", ">")
    eu = await control.subscription("eu", "*.eu", "orders.eu")
    await control.subscription("nothing", "x")
    view = control.view
    shorts = [names.short(entry.name) for entry in view.matching(DEFAULT, [Pattern("*.eu"), Pattern("orders.*")])]
    assert shorts == ["orders.eu", "orders.us", "bills.eu"]
    assert view.matching("namespaces/none", [Pattern(">")]) == []
    assert view.subscriptions_of(view.topic(f"{DEFAULT}/topics/orders.eu")) == [every, eu]
    assert view.subscriptions_of(view.topic(f"{OTHER}/topics/orders.eu")) == []


async def test_an_entry_stays_the_same_while_its_topic_does(control: ControlWorld) -> None:
    entry = await control.topic()
    said = told(control.view)
    changed = Topic(name=entry.name, limits=TopicLimits(records_per_second=5))
    await control.topics.update(changed, FieldMask())
    assert control.view.topic(entry.name) is entry
    assert entry.settings.records_per_second == 5
    assert said == [f"written {entry.uid} "]
    await control.topics.delete(entry.name, etag="", force=False)
    again = await control.topic()
    assert again is not entry
    assert again.uid != entry.uid
    assert said[1:] == [f"gone {entry.uid}", f"written {again.uid} "]


def test_a_topic_that_is_written_over_by_another_is_gone_first() -> None:
    view = BusView()
    said = told(view)
    view.apply(Commit(1, (Change(KEY, record("a"), 1),)))
    view.apply(Commit(2, (Change(KEY, record("b"), 2),)))
    assert said == ["written a ", "gone a", "written b "]
    assert set(view.topics_by_uid) == {"b"}
    assert list(view.topics_in(DEFAULT)) == [ORDERS]


def test_hooks_are_called_when_the_commit_is_whole() -> None:
    view = BusView()
    seen: list[tuple[int, set[str], set[str]]] = []

    def look(entry: TopicEntry) -> None:
        seen.append((view.revision, set(view.topics), set(view.trash)))

    view.hooks.topic_gone.append(look)
    view.hooks.trash_written.append(lambda trash: seen.append((view.revision, set(view.topics), {trash})))
    view.apply(Commit(1, (Change(KEY, record("a"), 1),)))
    view.apply(Commit(2, (Change(KEY, None, 2), Change(names.trash_key("a"), b"", 2))))
    assert seen == [(2, set(), {"a"})] * 2


def test_a_snapshot_is_told_to_nobody() -> None:
    view = BusView()
    said = told(view)
    view.load(Snapshot(5, (Entry(KEY, record("a"), 5),)))
    assert said == []
    assert view.revision == 5
    view.apply(Commit(6, ()))
    assert said == []


@pytest.mark.parametrize("old", [record("a", "old"), record("before", "old"), None])
def test_a_change_that_is_older_than_the_snapshot_counts_for_nothing(old: bytes | None) -> None:
    view = BusView()
    view.load(Snapshot(5, (Entry(KEY, record("a", "new"), 7),)))
    said = told(view)
    view.apply(Commit(6, (Change(KEY, old, 6),)))
    assert view.topic(ORDERS).message.description == "new"
    assert view.topic(ORDERS).uid == "a"
    assert said == []


async def test_other_keys_are_none_of_its_business(control: ControlWorld) -> None:
    ops = [Put("registry/namespaces/n", b"x"), Put("bus/later/kind", b"x"), Put("busy/topics/n/t", b"x")]
    revision = await control.store.commit(ops)
    await control.view.caught_up(revision)
    assert not control.view.topics
    assert control.view.revision == revision
    await control.view.caught_up(await control.store.commit([Delete("registry/namespaces/n")]))


async def test_who_waits_for_a_revision_is_told_that_none_comes() -> None:
    view = BusView()
    waiting = asyncio.create_task(view.caught_up(1))
    await asyncio.sleep(0)
    view.close()
    with pytest.raises(KernelStopping):
        await waiting
