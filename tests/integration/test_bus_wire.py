"""Topics and subscriptions over the wire: what there is, what it says of itself, and who may do what."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from sira.bus.v1 import dead_letter_service_pb2 as dead
from sira.bus.v1 import subscription_service_pb2 as pb
from sira.bus.v1 import topic_service_pb2 as topic_pb
from sira.bus.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from sira.bus.v1.publish_service_pb2 import PublishRequest
from sira.bus.v1.publish_service_pb2_grpc import PublishServiceStub
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.subscription_pb2 import PartitionLag, RetryPolicy, Subscription
from sira.bus.v1.topic_pb2 import Durability, PartitionStatus, Retention, Topic, TopicLimits
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.registry_service_pb2 import CreateNamespaceRequest, DeleteNamespaceRequest

from sira_grpc.config import BusConfig
from sira_grpc.times import timestamp
from tests.clocks import FakeClock
from tests.integration import identity_refusals
from tests.integration.bus_kernel import subscription_name, topic_name
from tests.integration.bus_stream import Subscriber
from tests.integration.bus_world import (
    ELSEWHERE,
    ORDERS,
    WORK,
    create_subscription,
    create_topic,
    payloads,
    publish,
    running,
    subscription,
    subscriptions,
    topic,
    topics,
)
from tests.integration.registry_kernel import Running, refusal
from tests.integration.registry_world import DEFAULT

NOT_EMPTY = (grpc.StatusCode.FAILED_PRECONDITION, "NOT_EMPTY")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def kernel(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Running]:
    limits = BusConfig(max_topics_per_namespace=6, max_subscriptions_per_namespace=6)
    async with running(tmp_path, clock=clock, bus=limits) as made:
        yield made
        assert not made.kernel.failed


async def test_the_life_of_a_topic(kernel: Running, clock: FakeClock) -> None:
    wanted = Topic(
        name=ORDERS,
        description="d",
        partitions=2,
        durability=Durability.DURABILITY_DISK,
        retention=Retention(max_age=Duration(seconds=60), max_bytes=1 << 20),
        limits=TopicLimits(max_record_bytes=1000),
        deduplication_window=Duration(seconds=5),
        etag="ignored",
    )
    created = (await topics(kernel).CreateTopic(topic_pb.CreateTopicRequest(topic=wanted))).topic
    now = timestamp(clock.time_ns())
    assert (created.create_time, created.update_time) == (now, now)
    assert [each.partition for each in created.status.partitions] == [0, 1]
    assert created == await topic(kernel, ORDERS)
    for field in ("description", "partitions", "durability", "retention", "limits", "deduplication_window"):
        assert getattr(created, field) == getattr(wanted, field)
    await publish(kernel, ORDERS, *payloads("a", "b"), partition=1)
    clock.advance(60)
    mask = FieldMask(paths=["description", "retention.max_age", "limits"])
    changed = Topic(name=ORDERS, description="e", etag=created.etag)
    request = topic_pb.UpdateTopicRequest(topic=changed, update_mask=mask)
    updated = (await topics(kernel).UpdateTopic(request)).topic
    assert (updated.description, updated.retention) == ("e", Retention(max_bytes=1 << 20))
    assert (updated.HasField("limits"), updated.partitions) == (False, 2)
    assert (updated.create_time, updated.update_time) == (now, timestamp(clock.time_ns()))
    assert updated.etag != created.etag
    held = updated.status.partitions[1]
    assert held == PartitionStatus(partition=1, next_offset=2, bytes=held.bytes)
    assert held.bytes > 0
    assert await refusal(topics(kernel).DeleteTopic(topic_pb.DeleteTopicRequest(name=ORDERS))) == NOT_EMPTY
    await topics(kernel).DeleteTopic(topic_pb.DeleteTopicRequest(name=ORDERS, etag=updated.etag, force=True))
    again = await create_topic(kernel, ORDERS)
    assert [each.next_offset for each in again.status.partitions] == [0]


async def test_topics_are_listed_by_name_and_pattern(kernel: Running) -> None:
    every = ["a", "b", "b.c", "b.c.d", "b.e", "f"]
    for name in reversed(every):
        await create_topic(kernel, topic_name(name))

    async def listed(pattern: str, size: int) -> list[list[str]]:
        pages, token = list[list[str]](), ""
        while not pages or token:
            request = topic_pb.ListTopicsRequest(parent=DEFAULT, pattern=pattern, page_size=size, page_token=token)
            page = await topics(kernel).ListTopics(request)
            assert not any(each.HasField("status") for each in page.topics)
            pages.append([each.name.rpartition("/")[2] for each in page.topics])
            token = page.next_page_token
        return pages

    assert await listed("", 4) == [every[:4], every[4:]]
    assert await listed("", 0) == [every]
    assert await listed("b.>", 2) == [["b.c", "b.c.d"], ["b.e"]]
    assert await listed("b.*", 0) == [["b.c", "b.e"]]
    assert await listed("*", 0) == [["a", "b", "f"]]
    assert await listed("none", 0) == [[]]
    # The namespace is full.
    error = await refusal(create_topic(kernel, topic_name("g")))
    assert error == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")


async def test_the_life_of_a_subscription(kernel: Running, clock: FakeClock) -> None:
    await create_topic(kernel, ORDERS, partitions=2)
    retry = RetryPolicy(max_deliveries=3, min_backoff=Duration(seconds=2))
    wanted = Subscription(name=WORK, topics=["orders"], retry=retry, ack_timeout=Duration(seconds=5), paused=True)
    request = pb.CreateSubscriptionRequest(subscription=wanted)
    created = (await subscriptions(kernel).CreateSubscription(request)).subscription
    assert (created.paused, created.retry, created.ack_timeout) == (False, retry, wanted.ack_timeout)
    await publish(kernel, ORDERS, *payloads("a", "b"), partition=1)
    clock.advance(60)
    changed = Subscription(name=WORK, topics=["other"], max_outstanding=1, etag=created.etag)
    mask = FieldMask(paths=["max_outstanding", "ack_timeout"])
    updating = pb.UpdateSubscriptionRequest(subscription=changed, update_mask=mask)
    updated = (await subscriptions(kernel).UpdateSubscription(updating)).subscription
    assert (updated.topics, updated.retry, updated.max_outstanding) == (["orders"], retry, 1)
    assert not updated.HasField("ack_timeout")
    async with Subscriber.of(kernel, WORK) as stream:
        assert stream.opened.ack_timeout == Duration(seconds=30)
        await stream.credit(10)
        got = await stream.records(1)
        await stream.nothing_more()  # so many may be with consumers
        status = (await subscription(kernel, WORK)).status
        assert (status.consumers, status.lag, status.dead_letters) == (1, 2, 0)
        assert list(status.partitions) == [
            PartitionLag(topic="orders"),
            PartitionLag(topic="orders", partition=1, next_offset=2, lag=2, outstanding=1),
        ]
        await stream.ack(got)
        await stream.records(1)
    await subscriptions(kernel).DeleteSubscription(pb.DeleteSubscriptionRequest(name=WORK, etag=updated.etag))
    again = await create_subscription(kernel, WORK, "orders")
    assert again.status.lag == 2


async def test_subscriptions_are_listed_by_name(kernel: Running) -> None:
    names = [subscription_name(text) for text in "abcdef"]
    for name in reversed(names):
        await create_subscription(kernel, name, "orders")
    found, token = list[str](), ""
    while not found or token:
        request = pb.ListSubscriptionsRequest(parent=DEFAULT, page_size=4, page_token=token)
        page = await subscriptions(kernel).ListSubscriptions(request)
        found += [each.name for each in page.subscriptions]
        token = page.next_page_token
    assert found == names
    error = await refusal(create_subscription(kernel, subscription_name("g"), "orders"))
    assert error == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")


@pytest.mark.parametrize("mode", [1, 2], ids=["queue", "ordered"])
async def test_topics_that_are_created_later_count_from_their_beginning(kernel: Running, mode: Any) -> None:
    latest: Any = {"latest": {}}
    await create_topic(kernel, topic_name("orders.old"))
    await publish(kernel, topic_name("orders.old"), *payloads("before"))
    await create_subscription(kernel, WORK, "orders.*", "x.>", start=latest, mode=mode)
    for name in ("orders.eu", "orders.eu.late", "x.y.z"):
        await create_topic(kernel, topic_name(name))
        await publish(kernel, topic_name(name), *payloads(f"{name} 1"))
    async with Subscriber.of(kernel, WORK) as stream:
        await stream.credit(100)
        got = await stream.records(2)
        assert sorted(record.payload for record in got) == ["orders.eu 1", "x.y.z 1"]
        for name in ("orders.eu", "orders.old"):
            await publish(kernel, topic_name(name), *payloads(f"{name} 2"))
        got += await stream.records(2)
        assert sorted(record.payload for record in got[2:]) == ["orders.eu 2", "orders.old 2"]
        await stream.ack(got)
        # What is with a consumer of a topic that is deleted is stale.
        await publish(kernel, topic_name("orders.eu"), *payloads("orders.eu 3"))
        (last,) = await stream.records(1)
        await topics(kernel).DeleteTopic(topic_pb.DeleteTopicRequest(name=topic_name("orders.eu"), force=True))
        settle = pb.Settlement(topic=last.topic, ranges=[pb.OffsetRange(first=last.offset, end=last.offset + 1)])
        settle.ack.SetInParent()
        await _stale_in_the_end(stream, settle)
    assert [each.topic for each in (await subscription(kernel, WORK)).status.partitions] == ["orders.old", "x.y.z"]


async def _stale_in_the_end(stream: Subscriber, settle: pb.Settlement) -> None:
    """Settles until that is stale: a topic's end may be noticed a little later."""
    while not (await stream.settle(settle)).stale:
        pass


@pytest.mark.parametrize(
    "retention", [Retention(max_records=3), Retention(max_bytes=400), Retention(max_age=Duration(seconds=60))], ids=str
)
async def test_what_is_beyond_retention_goes(kernel: Running, clock: FakeClock, retention: Retention) -> None:
    await create_topic(kernel, ORDERS, retention=retention)
    await create_subscription(kernel, WORK, "orders")
    for number in range(10):
        if number == 7:
            clock.advance(61)
        await publish(kernel, ORDERS, Record(payload=f"{number:0100}".encode()))
    while not (held := (await topic(kernel, ORDERS)).status.partitions[0]).first_offset:
        pass  # each call is a wait of its own
    assert held.first_offset == 7
    assert held.next_offset == 10
    assert (await subscription(kernel, WORK)).status.lag == 3
    async with Subscriber.of(kernel, WORK) as stream:
        await stream.credit(100)
        assert [record.offset for record in await stream.records(3)] == [7, 8, 9]


async def test_a_namespace_with_topics_is_deleted_only_with_force(kernel: Running) -> None:
    there = f"{ELSEWHERE}/topics/a"
    await kernel.registry.CreateNamespace(CreateNamespaceRequest(namespace=Namespace(name=ELSEWHERE)))
    await create_topic(kernel, there)
    await create_subscription(kernel, f"{ELSEWHERE}/subscriptions/s", "a")
    await publish(kernel, there, *payloads("a"))
    assert await refusal(kernel.registry.DeleteNamespace(DeleteNamespaceRequest(name=ELSEWHERE))) == NOT_EMPTY
    async with Subscriber.of(kernel, f"{ELSEWHERE}/subscriptions/s") as stream:
        await kernel.registry.DeleteNamespace(DeleteNamespaceRequest(name=ELSEWHERE, force=True))
        assert await stream.refusal() == (grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND")
    assert await refusal(create_topic(kernel, there)) == (grpc.StatusCode.NOT_FOUND, "NAMESPACE_NOT_FOUND")
    await kernel.registry.CreateNamespace(CreateNamespaceRequest(namespace=Namespace(name=ELSEWHERE)))
    assert (await create_topic(kernel, there)).status.partitions[0].next_offset == 0


async def test_a_verification_tells_of_every_partition(kernel: Running) -> None:
    await create_topic(kernel, ORDERS, partitions=2)
    for _ in range(3):
        await publish(kernel, ORDERS, *payloads("a", "b"), partition=1)
    call = topics(kernel).VerifyTopic(topic_pb.VerifyTopicRequest(name=ORDERS))
    last = {answer.partition: answer async for answer in call}
    assert [(each.frames, each.records, each.done, list(each.damages)) for _, each in sorted(last.items())] == [
        (0, 0, True, []),
        (3, 6, True, []),
    ]


async def test_who_may_do_what(tmp_path: Path) -> None:
    async with identity_refusals.running(tmp_path) as world:
        service = Running(world.kernel, world.channel(await world.join(identity_refusals.WEB)))
        # A service declares what it needs, publishes and consumes.
        await create_topic(service, ORDERS)
        await create_subscription(service, WORK, "orders")
        await publish(service, ORDERS, *payloads("a"))
        async with Subscriber.of(service, WORK) as stream:
            await stream.credit(1)
            await stream.ack(await stream.records(1))
        # To change or remove it is for operators.
        denied = (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
        for call in _for_operators(service):
            assert await refusal(call()) == denied
        operator = Running(world.kernel, world.channel(world.operator))
        for call in _for_operators(operator):
            await call()
        # Who says nothing of themselves does none of it.
        anonymous = Running(world.kernel, world.channel(None))
        nobody = (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
        publishing: Any = PublishServiceStub(anonymous.channel)
        for call in (
            lambda: topic(anonymous, ORDERS),
            lambda: create_topic(anonymous, topic_name("new")),
            lambda: publishing.Publish(PublishRequest(topic=ORDERS, records=payloads("a"))),
            *_for_operators(anonymous),
        ):
            assert await refusal(call()) == nobody


def _for_operators(kernel: Running) -> list[Callable[[], Awaitable[Any]]]:
    dead_letters: Any = DeadLetterServiceStub(kernel.channel)
    described = Topic(name=ORDERS, description="d")
    return [
        lambda: topics(kernel).UpdateTopic(topic_pb.UpdateTopicRequest(topic=described)),
        lambda: subscriptions(kernel).PauseSubscription(pb.PauseSubscriptionRequest(name=WORK)),
        lambda: dead_letters.PurgeDeadLetters(dead.PurgeDeadLettersRequest(parent=WORK)),
        lambda: subscriptions(kernel).DeleteSubscription(pb.DeleteSubscriptionRequest(name=WORK)),
        lambda: topics(kernel).DeleteTopic(topic_pb.DeleteTopicRequest(name=ORDERS, force=True)),
    ]
