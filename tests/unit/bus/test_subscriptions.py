"""Subscriptions: commands that change what is stored, or leave everything as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from sira.bus.v1.subscription_pb2 import (
    PartitionOffset,
    RetryPolicy,
    StartPosition,
    Subscription,
    SubscriptionMode,
    SubscriptionStatus,
)

from sira_grpc.bus import names
from sira_grpc.bus import subscriptions as module
from sira_grpc.errors import (
    AlreadyExists,
    EtagMismatch,
    InvalidField,
    InvalidFieldMask,
    LimitExceeded,
    NamespaceNotFound,
    NotEmpty,
    SubscriptionNotFound,
    TopicNotFound,
)
from sira_grpc.times import timestamp
from tests.clocks import FakeClock
from tests.unit.bus.control_world import DEFAULT, OTHER, ControlWorld, subscription

NAME = f"{DEFAULT}/subscriptions/billing"
EARLIEST = StartPosition(earliest=StartPosition.Earliest())


def at(topic: str, partition: int = 0) -> StartPosition:
    return StartPosition(offset=PartitionOffset(topic=topic, partition=partition, offset=7))


async def delete(control: ControlWorld, *, etag: str = "", force: bool = False) -> None:
    await control.subscriptions.delete(NAME, etag=etag, force=force)


def fields(error: InvalidField) -> list[str]:
    return [violation.field for violation in error.violations]


async def test_a_subscription_is_stored_as_it_was_given(control: ControlWorld, clock: FakeClock) -> None:
    given = Subscription(
        name=NAME,
        description="who bills",
        topics=["orders"],
        mode=SubscriptionMode.SUBSCRIPTION_MODE_ORDERED,
        start=EARLIEST,
        ack_timeout=Duration(seconds=9),
        retry=RetryPolicy(max_deliveries=3),
        max_outstanding=4,
        paused=True,
        etag="whatever",
        create_time=timestamp(1),
        update_time=timestamp(1),
        status=SubscriptionStatus(),
    )
    entry = await control.subscriptions.create(given)
    now = timestamp(clock.time_ns())
    assert entry.message == Subscription(
        name=NAME,
        description="who bills",
        topics=["orders"],
        mode=SubscriptionMode.SUBSCRIPTION_MODE_ORDERED,
        start=EARLIEST,
        ack_timeout=Duration(seconds=9),
        retry=RetryPolicy(max_deliveries=3),
        max_outstanding=4,
        etag=str(entry.revision),
        create_time=now,
        update_time=now,
    )
    assert entry.starts == {}  # the topic need not be there yet
    assert len(bytes.fromhex(entry.uid)) == 8


async def test_a_name_is_taken_once(control: ControlWorld) -> None:
    entry = await control.subscription()
    with pytest.raises(AlreadyExists) as refused:
        await control.subscription()
    assert refused.value.metadata == {"resource": NAME}
    assert control.view.subscription(NAME) is entry
    done = await asyncio.gather(*(control.subscription("other") for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(outcome, AlreadyExists) for outcome in done) == 4


async def test_a_namespace_must_be_there(control: ControlWorld) -> None:
    with pytest.raises(NamespaceNotFound):
        await control.subscriptions.create(Subscription(name="namespaces/none/subscriptions/s", topics=["a"]))
    with pytest.raises(NamespaceNotFound):
        await control.subscriptions.list("namespaces/none", size=0, token="")


async def test_a_namespace_holds_so_many_and_no_more(control: ControlWorld) -> None:
    limit = control.config.max_subscriptions_per_namespace
    coming = (control.subscription(f"s{number}") for number in range(limit + 5))
    done = await asyncio.gather(*coming, return_exceptions=True)
    refused = [outcome for outcome in done if isinstance(outcome, LimitExceeded)]
    assert len(refused) == 5
    assert refused[0].metadata["limit"] == "bus.max_subscriptions_per_namespace"
    assert len(control.view.subscriptions) == limit


async def test_it_begins_after_what_is_there_unless_it_says_where(control: ControlWorld) -> None:
    orders, bills = await control.topic("orders", partitions=2), await control.topic("bills")
    await control.topic("others")
    await control.topic("orders", namespace=OTHER)
    entry = await control.subscription("billing", "orders", "bills")
    assert entry.starts == {(orders.uid, 0): 100, (orders.uid, 1): 101, (bills.uid, 0): 100}
    assert control.neighbours.positions == [
        (orders.name, 0, "latest"),
        (orders.name, 1, "latest"),
        (bills.name, 0, "latest"),
    ]
    assert not entry.message.HasField("start")


@pytest.mark.parametrize(
    ("start", "kind"), [(EARLIEST, "earliest"), (StartPosition(time=Timestamp(seconds=5)), "time")]
)
async def test_it_begins_where_it_says(control: ControlWorld, start: StartPosition, kind: str) -> None:
    orders = await control.topic("orders", partitions=2)
    given = subscription()
    given.start.CopyFrom(start)
    entry = await control.subscriptions.create(given)
    assert control.neighbours.positions == [(orders.name, 0, kind), (orders.name, 1, kind)]
    assert entry.message.start == start


async def test_an_offset_is_of_one_partition(control: ControlWorld) -> None:
    orders, bills = await control.topic("orders", partitions=2), await control.topic("bills")
    given = subscription("billing", ">")
    given.start.CopyFrom(at("orders", 1))
    await control.subscriptions.create(given)
    assert control.neighbours.positions == [
        (orders.name, 0, "latest"),
        (orders.name, 1, "offset"),
        (bills.name, 0, "latest"),
    ]


@pytest.mark.parametrize(
    ("start", "field"),
    [
        (at("bills"), "subscription.start.offset.topic"),
        (at("nowhere"), "subscription.start.offset.topic"),
        (at("orders", 2), "subscription.start.offset.partition"),
    ],
)
async def test_an_offset_is_in_what_it_reads(control: ControlWorld, start: StartPosition, field: str) -> None:
    await control.topic("orders", partitions=2)
    await control.topic("bills")
    given = subscription()
    given.start.CopyFrom(start)
    with pytest.raises(InvalidField) as refused:
        await control.subscriptions.create(given)
    assert fields(refused.value) == [field]
    assert not control.view.subscriptions


async def test_it_begins_in_so_many_partitions_and_no_more(
    control: ControlWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PARTITIONS", 3)
    for short in ("a", "b"):
        await control.topic(short, partitions=2)
    with pytest.raises(InvalidField) as refused:
        await control.subscription("billing", ">")
    assert fields(refused.value) == ["subscription.topics"]
    assert not control.view.subscriptions
    await control.subscription("billing", "a")


async def test_a_topic_that_is_deleted_meanwhile_does_not_count(control: ControlWorld) -> None:
    orders, bills = await control.topic("orders"), await control.topic("bills")
    control.neighbours.failing[orders.name] = TopicNotFound(f"{orders.name} is not there")
    entry = await control.subscription("billing", ">")
    assert entry.starts == {(bills.uid, 0): 100}


async def test_as_many_partitions_as_there_may_be_fit_into_the_store(control: ControlWorld) -> None:
    for number in range(16):
        await control.topic(f"t{number}", partitions=256)
    control.neighbours.offset_of_position = 2**62
    entry = await control.subscription("billing", ">")
    assert len(entry.starts) == 4096
    assert (await control.subscriptions.pause(NAME)).message.paused


async def test_an_update_writes_what_the_mask_names(control: ControlWorld, clock: FakeClock) -> None:
    await control.topic("orders")
    before = await control.subscription()
    uid, starts, created = before.uid, dict(before.starts), before.message.create_time.ToNanoseconds()
    assert starts
    clock.advance(5)
    given = Subscription(
        name=NAME,
        description="new",
        topics=["others"],
        mode=SubscriptionMode.SUBSCRIPTION_MODE_ORDERED,
        start=EARLIEST,
        ack_timeout=Duration(seconds=5),
        retry=RetryPolicy(max_deliveries=4),
        max_outstanding=6,
        paused=True,
    )
    entry = await control.subscriptions.update(given, FieldMask(paths=["retry.max_deliveries"]))
    assert entry.message == Subscription(
        name=NAME,
        topics=["orders"],
        retry=RetryPolicy(max_deliveries=4),
        etag=str(entry.revision),
        create_time=timestamp(created),
        update_time=timestamp(clock.time_ns()),
    )
    entry = await control.subscriptions.update(given, FieldMask())
    assert (entry.uid, entry.starts) == (uid, starts)
    assert (entry.settings.ack_timeout, entry.settings.max_outstanding) == (5, 6)
    assert (list(entry.message.topics), entry.message.mode, entry.message.paused) == (["orders"], 0, False)
    assert not entry.message.HasField("start")
    await control.restart()
    assert control.view.subscription(NAME).message == entry.message
    assert control.view.subscription(NAME).starts == starts


@pytest.mark.parametrize("path", ["topics", "mode", "start", "paused", "name", "status", "nonsense"])
async def test_what_cannot_be_changed_is_not(control: ControlWorld, path: str) -> None:
    entry = await control.subscription()
    revision = entry.revision
    with pytest.raises(InvalidFieldMask):
        await control.subscriptions.update(subscription(), FieldMask(paths=[path]))
    assert entry.revision == revision


@pytest.mark.parametrize(
    "retry",
    [
        RetryPolicy(min_backoff=Duration(seconds=3), max_backoff=Duration(seconds=2)),
        RetryPolicy(min_backoff=Duration(seconds=601)),
        RetryPolicy(max_backoff=Duration(nanos=1)),
    ],
)
async def test_the_longest_delay_is_no_shorter_than_the_first(control: ControlWorld, retry: RetryPolicy) -> None:
    given = subscription()
    given.retry.CopyFrom(retry)
    with pytest.raises(InvalidField) as created:
        await control.subscriptions.create(given)
    entry = await control.subscription()
    revision = entry.revision
    with pytest.raises(InvalidField) as updated:
        await control.subscriptions.update(given, FieldMask())
    assert fields(created.value) == fields(updated.value) == ["subscription.retry.max_backoff"]
    assert entry.revision == revision


async def test_what_comes_out_of_an_update_keeps_the_rules(control: ControlWorld) -> None:
    await control.subscription()
    given = subscription()
    given.max_outstanding = 200_001
    with pytest.raises(InvalidField) as refused:
        await control.subscriptions.update(given, FieldMask())
    assert fields(refused.value) == ["subscription.max_outstanding"]


async def test_an_etag_is_the_stored_one_or_none(control: ControlWorld) -> None:
    entry = await control.subscription()
    etag = entry.message.etag
    given = subscription()
    given.etag = etag
    await control.subscriptions.update(given, FieldMask())
    with pytest.raises(EtagMismatch):
        await control.subscriptions.update(given, FieldMask())
    with pytest.raises(EtagMismatch):
        await delete(control, etag=etag)
    await delete(control, etag=entry.message.etag)
    assert not control.view.subscriptions


async def test_pausing_twice_is_pausing_once(control: ControlWorld) -> None:
    await control.topic("orders")
    entry = await control.subscription()
    starts = dict(entry.starts)
    assert (await control.subscriptions.pause(NAME)).message.paused
    revision = control.store.revision
    assert (await control.subscriptions.pause(NAME)).message.paused
    assert control.store.revision == revision
    await control.restart()
    entry = control.view.subscription(NAME)
    assert entry.message.paused
    assert entry.starts == starts
    assert not (await control.subscriptions.resume(NAME)).message.paused
    assert not (await control.subscriptions.resume(NAME)).message.paused


@pytest.mark.parametrize("command", ["update", "delete", "pause", "resume"])
async def test_what_is_not_there_is_not_changed(control: ControlWorld, command: str) -> None:
    commands: dict[str, Callable[[], Awaitable[object]]] = {
        "update": lambda: control.subscriptions.update(subscription(), FieldMask()),
        "delete": lambda: delete(control),
        "pause": lambda: control.subscriptions.pause(NAME),
        "resume": lambda: control.subscriptions.resume(NAME),
    }
    with pytest.raises(SubscriptionNotFound) as refused:
        await commands[command]()
    assert refused.value.metadata == {"resource": NAME}


async def test_dead_letters_are_deleted_with_force_only(control: ControlWorld) -> None:
    await control.subscription()
    control.neighbours.dead[NAME] = 2
    with pytest.raises(NotEmpty, match="2 dead letters"):
        await delete(control)
    assert NAME in control.view.subscriptions
    assert not control.view.trash
    await delete(control, force=True)
    assert NAME not in control.view.subscriptions


async def test_a_deleted_subscription_leaves_its_logs_as_trash_in_the_same_commit(control: ControlWorld) -> None:
    reader = await control.subscription("billing", "orders.>")
    orders = await control.topic("orders.eu", partitions=2)  # after it: it reads it all the same
    await control.topic("bills")
    before = control.store.revision
    await delete(control)
    watch = control.store.watch("bus/", after=before)
    commit = await anext(watch)
    await watch.aclose()
    assert [(change.key, change.value is None) for change in commit.changes] == [
        (names.subscription_key(NAME), True),
        (names.trash_key(f"default/{reader.uid}"), False),
    ]
    assert control.trash() == {
        f"bus/{reader.uid}/dead",
        f"bus/{reader.uid}/dead-removed",
        f"bus/{reader.uid}/{orders.uid}/0",
        f"bus/{reader.uid}/{orders.uid}/1",
    }


async def test_one_that_was_created_again_meanwhile_stays(control: ControlWorld) -> None:
    await control.subscription()

    async def again() -> None:
        await delete(control, force=True)
        await control.subscription()

    control.neighbours.asked = again
    with pytest.raises(SubscriptionNotFound):
        await delete(control)
    assert NAME in control.view.subscriptions


async def test_subscriptions_are_listed_by_name_in_pages(control: ControlWorld) -> None:
    for short in ("c", "a", "b"):
        await control.subscription(short)
    await control.subscriptions.create(Subscription(name=f"{OTHER}/subscriptions/x", topics=["a"]))
    page, token = await control.subscriptions.list(DEFAULT, size=2, token="")
    assert [names.short(message.name) for message in page] == ["a", "b"]
    page, token = await control.subscriptions.list(DEFAULT, size=2, token=token)
    assert ([names.short(message.name) for message in page], token) == (["c"], "")
    assert [message.etag for message in page] == [control.view.subscription(f"{DEFAULT}/subscriptions/c").message.etag]
