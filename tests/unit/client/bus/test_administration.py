from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from sira_client import (
    Client,
    DeadLetterNotFoundError,
    FailedPreconditionError,
    SubscriptionNotFoundError,
    TopicNotFoundError,
)
from sira_client.bus import (
    Bus,
    Compaction,
    DeadLetter,
    DeadLetterFilter,
    PartitionOffset,
    Retention,
    RetryPolicy,
    TopicLimits,
)

from tests.unit.client.bus.bus_double import BusDouble


async def test_topics_are_created_as_asked(double: BusDouble, bus: Bus) -> None:
    topic = await bus.topics.create(
        "orders.eu",
        partitions=4,
        durability="memory",
        retention=Retention(max_age=Duration(seconds=86400)),
        compaction=Compaction(),
        limits=TopicLimits(max_record_bytes=5),
        deduplication_window=0,
        description="what was ordered",
    )
    assert (topic.name, topic.partitions) == ("namespaces/default/topics/orders.eu", 4)
    assert topic.HasField("compaction")
    assert topic.HasField("deduplication_window")
    assert (topic.retention.max_age.seconds, topic.limits.max_record_bytes) == (86400, 5)
    assert await bus.topics.get("namespaces/default/topics/orders.eu") == topic


async def test_all_topics_are_listed_page_by_page(double: BusDouble, bus: Bus) -> None:
    for number in range(5):
        double.add_topic(f"t{number}")
    assert [topic.name[-2:] async for topic in bus.topics.list("*")] == ["t0", "t1", "t2", "t3", "t4"]
    assert {request.pattern for request in double.seen["ListTopics"]} == {"*"}


async def test_only_what_is_given_is_changed(double: BusDouble, bus: Bus) -> None:
    double.add_topic("orders", description="old")
    topic = await bus.topics.update("orders", deduplication_window=1, etag="x")
    assert (topic.description, topic.deduplication_window.seconds) == ("old", 1)
    assert (await bus.topics.update("orders", description="")).description == ""
    assert list(double.seen["UpdateTopic"][0].update_mask.paths) == ["deduplication_window"]
    assert double.seen["UpdateTopic"][0].topic.etag == "x"
    with pytest.raises(ValueError, match="something"):
        await bus.topics.update("orders")


async def test_topics_are_deleted(double: BusDouble, bus: Bus) -> None:
    double.add_topic("orders")
    await bus.publish("orders", b"x")
    with pytest.raises(FailedPreconditionError):
        await bus.topics.delete("orders")
    await bus.topics.delete("orders", force=True)
    with pytest.raises(TopicNotFoundError):
        await bus.topics.get("orders")


async def test_topics_are_verified(double: BusDouble, bus: Bus) -> None:
    double.add_topic("orders", 3)
    assert [answer.partition async for answer in bus.topics.verify("orders")] == [0, 1, 2]
    with pytest.raises(TopicNotFoundError):
        [answer async for answer in bus.topics.verify("nothing")]


@pytest.mark.parametrize("name", ["", "Orders", "a..b", "namespaces/x/services/y", "a/b", "a." * 120 + "a"])
async def test_a_malformed_topic(bus: Bus, name: str) -> None:
    with pytest.raises(ValueError, match="topic"):
        await bus.topics.get(name)


async def test_wrong_words_are_refused(bus: Bus) -> None:
    with pytest.raises(ValueError, match="durability"):
        await bus.topics.create("orders", durability="tape")  # type: ignore[arg-type]  # that is what is tested
    with pytest.raises(ValueError, match="mode"):
        await bus.subscriptions.create("billing", ">", mode="fifo")  # type: ignore[arg-type]  # that is what is tested
    with pytest.raises(ValueError, match="subscription"):
        bus.subscribe("Billing")
    with pytest.raises(ValueError, match="deduplication_window"):
        await bus.topics.create("orders", deduplication_window=-1)


async def test_a_namespace_of_its_own(double: BusDouble, bus_client: Client) -> None:
    bus = bus_client.bus(namespace="other")
    await bus.topics.create("orders")
    assert list(double.topics) == ["namespaces/other/topics/orders"]
    with pytest.raises(ValueError, match="namespace"):
        bus_client.bus(namespace="Other")


async def test_subscriptions_are_created_as_asked(double: BusDouble, bus: Bus) -> None:
    subscription = await bus.subscriptions.create(
        "billing",
        ["orders.>", "refunds"],
        mode="ordered",
        start=PartitionOffset(topic="refunds", offset=3),
        ack_timeout=1.5,
        retry=RetryPolicy(max_deliveries=3),
        max_outstanding=7,
        description="bills",
    )
    assert subscription.name == "namespaces/default/subscriptions/billing"
    assert list(subscription.topics) == ["orders.>", "refunds"]
    assert subscription.ack_timeout.ToMilliseconds() == 1500
    assert (subscription.start.offset.offset, subscription.retry.max_deliveries) == (3, 3)
    assert await bus.subscriptions.get("billing") == subscription
    assert await bus.subscriptions.lag("billing") == subscription.status
    assert list((await bus.subscriptions.create("all", ">")).topics) == [">"]


async def test_subscriptions_are_looked_after(double: BusDouble, bus: Bus) -> None:
    for number in range(3):
        await bus.subscriptions.create(f"s{number}", "orders")
    assert [subscription.name[-2:] async for subscription in bus.subscriptions.list()] == ["s0", "s1", "s2"]
    changed = await bus.subscriptions.update("s0", max_outstanding=5, ack_timeout=2, description="d")
    assert (changed.max_outstanding, changed.ack_timeout.seconds, changed.description) == (5, 2, "d")
    with pytest.raises(ValueError, match="something"):
        await bus.subscriptions.update("s0")
    assert (await bus.subscriptions.pause("s0")).paused
    assert not (await bus.subscriptions.resume("s0")).paused
    await bus.subscriptions.seek("s0", "earliest")
    assert double.seen["SeekSubscription"][0].position.WhichOneof("position") == "earliest"
    await bus.subscriptions.delete("s0", force=True, etag="x")
    assert (double.seen["DeleteSubscription"][0].force, double.seen["DeleteSubscription"][0].etag) == (True, "x")
    with pytest.raises(SubscriptionNotFoundError):
        await bus.subscriptions.get("s0")


async def test_dead_letters_are_looked_after(double: BusDouble, bus: Bus) -> None:
    parent = "namespaces/default/subscriptions/billing"
    double.letters = [DeadLetter(name=f"{parent}/deadLetters/{number}") for number in range(5)]
    which = DeadLetterFilter(topic="orders")
    assert [letter async for letter in bus.dead_letters.list("billing", which)] == double.letters
    assert await bus.dead_letters.get("billing", 3) == double.letters[3]
    with pytest.raises(DeadLetterNotFoundError):
        await bus.dead_letters.get("billing", 9)
    answer = await bus.dead_letters.redrive("billing", which, topic="retry", limit=2, max_redrives=1, dry_run=True)
    assert answer.redriven == 5
    (asked,) = double.seen["RedriveDeadLetters"]
    assert (asked.parent, asked.filter, asked.topic) == (parent, which, "namespaces/default/topics/retry")
    assert (asked.limit, asked.max_redrives, asked.dry_run) == (2, 1, True)
    assert (await bus.dead_letters.redrive("billing")).redriven == 5
    assert double.seen["RedriveDeadLetters"][1].topic == ""
    assert (await bus.dead_letters.purge("billing", which, limit=3, dry_run=True)).purged == 5
    (purge,) = double.seen["PurgeDeadLetters"]
    assert (purge.parent, purge.filter, purge.limit, purge.dry_run) == (parent, which, 3, True)
