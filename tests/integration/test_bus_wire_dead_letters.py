"""Dead letters over the wire: how records become some, what they say, and how they come back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from sira.bus.v1 import dead_letter_service_pb2 as dead
from sira.bus.v1 import subscription_service_pb2 as pb
from sira.bus.v1 import topic_service_pb2 as topic_pb
from sira.bus.v1.dead_letter_pb2 import DeadLetter, DeadLetterReason
from sira.bus.v1.record_pb2 import Attributes, Record, TraceContext
from sira.bus.v1.subscription_pb2 import RetryPolicy

from sira_grpc.times import timestamp
from tests.clocks import FakeClock
from tests.integration.bus_kernel import topic_name
from tests.integration.bus_stream import Got, Subscriber, settlement
from tests.integration.bus_world import (
    FIRST_LETTER,
    LINE,
    ORDERS,
    WORK,
    create_subscription,
    create_topic,
    letters,
    payloads,
    publish,
    running,
    subscription,
    subscriptions,
    topic,
    topics,
)
from tests.integration.registry_kernel import Running, refusal

TERMINATED = DeadLetterReason.DEAD_LETTER_REASON_TERMINATED
MAX_DELIVERIES = DeadLetterReason.DEAD_LETTER_REASON_MAX_DELIVERIES
AT_ONCE = Duration()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def kernel(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Running]:
    async with running(tmp_path, clock=clock) as made:
        await create_topic(made, ORDERS)
        yield made
        assert not made.kernel.failed


async def give_up(kernel: Running, name: str, count: int, detail: str = "") -> list[Got]:
    """Terminates the next records of a subscription, and returns them."""
    async with Subscriber.of(kernel, name, consumer="c1") as stream:
        await stream.credit(count)
        records = await stream.records(count)
        outcome = pb.Terminate(detail=detail)
        await stream.settle(*(settlement(record, terminate=outcome) for record in records))
        await stream.close()
    return records


async def listed(kernel: Running, name: str, **fields: Any) -> Sequence[DeadLetter]:
    """The dead letters of a subscription that a filter chooses."""
    request = dead.ListDeadLettersRequest(parent=name, filter=dead.DeadLetterFilter(**fields))
    page = await letters(kernel).ListDeadLetters(request)
    assert not page.next_page_token
    found: Sequence[DeadLetter] = page.dead_letters
    return found


def numbered(*places: int) -> list[int]:
    """The numbers of the dead letters that are at some places of all that a subscription has had."""
    return [FIRST_LETTER + place for place in places]


async def got(kernel: Running, letter: DeadLetter) -> DeadLetter:
    answer = await letters(kernel).GetDeadLetter(dead.GetDeadLetterRequest(name=letter.name))
    assert isinstance(answer, dead.GetDeadLetterResponse)
    return answer.dead_letter


async def redrive(kernel: Running, name: str, **fields: Any) -> tuple[int, int, int, bool]:
    """Redrives, and returns how many were redriven, guarded and impossible, and whether there are more."""
    request = dead.RedriveDeadLettersRequest(parent=name, **fields)
    answer = await letters(kernel).RedriveDeadLetters(request)
    return answer.redriven, answer.guarded, answer.impossible, answer.more


async def test_a_record_that_is_terminated_is_a_dead_letter(kernel: Running, clock: FakeClock) -> None:
    await create_subscription(kernel, WORK, "orders")
    attributes = Attributes(headers={"a": "b"}, trace_context=TraceContext(traceparent="00-1-2-3"))
    record = Record(id="one", key=b"k", payload=b"p", attributes=attributes)
    await publish(kernel, ORDERS, *payloads("x"), record)
    published = timestamp(clock.time_ns())
    clock.advance(60)
    await give_up(kernel, WORK, 2, "cannot be read")
    _, letter = await listed(kernel, WORK)
    assert not letter.record.payload
    full = await got(kernel, letter)
    assert full == DeadLetter(
        name=f"{WORK}/deadLetters/{FIRST_LETTER + 1}",
        record=record,
        topic="orders",
        offset=1,
        publish_time=published,
        reason=TERMINATED,
        detail="cannot be read",
        deliveries=1,
        consumer="c1",
        dead_letter_time=timestamp(clock.time_ns()),
    )
    status = (await subscription(kernel, WORK)).status
    assert (status.lag, status.dead_letters) == (0, 2)
    delete = subscriptions(kernel).DeleteSubscription(pb.DeleteSubscriptionRequest(name=WORK))
    assert await refusal(delete) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_EMPTY")
    await subscriptions(kernel).DeleteSubscription(pb.DeleteSubscriptionRequest(name=WORK, force=True))


@pytest.mark.parametrize("mode", [1, 2], ids=["queue", "ordered"])
async def test_a_record_is_delivered_as_often_as_the_rule_allows(kernel: Running, mode: Any) -> None:
    retry = RetryPolicy(max_deliveries=3, min_backoff=AT_ONCE)
    await create_subscription(kernel, WORK, "orders", retry=retry, mode=mode)
    await publish(kernel, ORDERS, *payloads("poison", "after", key=b"k"))
    async with Subscriber.of(kernel, WORK) as stream:
        for attempt in range(1, 4):
            await stream.credit(1)
            (record,) = await stream.records(1)
            assert (record.payload, record.attempt) == ("poison", attempt)
            detail = f"failed {attempt}"
            await stream.settle(settlement(record, nak=pb.Nak(detail=detail)))
        await stream.credit(1)
        await stream.ack(await stream.records(1))  # it goes on with what follows
        await stream.close()
    (letter,) = await listed(kernel, WORK)
    assert (letter.reason, letter.deliveries, letter.detail) == (MAX_DELIVERIES, 3, "failed 3")
    assert (await subscription(kernel, WORK)).status.lag == 0


async def test_a_record_whose_consumers_time_out_or_vanish_is_given_up_too(kernel: Running, clock: FakeClock) -> None:
    await create_subscription(kernel, WORK, "orders", retry=RetryPolicy(max_deliveries=2, min_backoff=AT_ONCE))
    await publish(kernel, ORDERS, *payloads("a"))
    async with Subscriber.of(kernel, WORK) as stream:
        await stream.credit(1)
        await stream.records(1)  # and it vanishes
    async with Subscriber.of(kernel, WORK) as stream:
        await stream.credit(10)
        (record,) = await stream.records(1)
        assert record.attempt == 2
        clock.advance(31)
        await stream.credit(0, 0)
        await stream.nothing_more()
        await stream.close()
    while not (found := await listed(kernel, WORK)):
        pass  # each call is a wait of its own
    assert [(letter.reason, letter.deliveries) for letter in found] == [(MAX_DELIVERIES, 2)]


async def test_filters_choose_dead_letters(kernel: Running, clock: FakeClock) -> None:
    await create_topic(kernel, topic_name("other"))
    await create_subscription(kernel, WORK, "*", retry=RetryPolicy(max_deliveries=1))
    headed = Attributes(headers={"a": "1", "b": "2"})
    for name, record in (
        (ORDERS, Record(key=b"k")),
        (ORDERS, Record(attributes=headed)),
        (topic_name("other"), Record(key=b"k", attributes=headed)),
    ):
        await publish(kernel, name, record)
        await give_up(kernel, WORK, 1)
        clock.advance(10)
    await publish(kernel, ORDERS, *payloads("x"))
    async with Subscriber.of(kernel, WORK) as stream:
        await stream.credit(1)
        await stream.settle(settlement(*await stream.records(1), nak=pb.Nak()))
        await stream.close()
    start = FakeClock().time_ns()
    second, third = (timestamp(start + seconds * 1_000_000_000) for seconds in (10, 20))
    for fields, wanted in (
        ({}, [0, 1, 2, 3]),
        ({"key": b"k"}, [0, 2]),
        ({"headers": {"a": "1"}}, [1, 2]),
        ({"headers": {"a": "1", "b": "2"}, "key": b"k"}, [2]),
        ({"headers": {"a": "2"}}, []),
        ({"reason": MAX_DELIVERIES}, [3]),
        ({"topic": "other"}, [2]),
        ({"after": second}, [1, 2, 3]),
        ({"before": second}, [0]),
        ({"after": second, "before": third}, [1]),
        ({"ids": numbered(3, 0, 3, 9, -2)}, [0, 3]),
        ({"ids": numbered(1, 2), "topic": "orders"}, [1]),
    ):
        found = await listed(kernel, WORK, **fields)
        assert [int(letter.name.rpartition("/")[2]) for letter in found] == numbered(*wanted), fields


async def test_dead_letters_come_page_by_page(kernel: Running) -> None:
    await create_subscription(kernel, WORK, "orders")
    await publish(kernel, ORDERS, *payloads(*"abcdefg"))
    await give_up(kernel, WORK, 7)
    token, pages = "", list[list[int]]()
    while not pages or token:
        request = dead.ListDeadLettersRequest(parent=WORK, page_size=3, page_token=token)
        page = await letters(kernel).ListDeadLetters(request)
        pages.append([letter.offset for letter in page.dead_letters])
        token = page.next_page_token
    assert pages == [[0, 1, 2], [3, 4, 5], [6]]


async def test_redriven_records_come_to_their_subscription_alone(kernel: Running) -> None:
    for name in (WORK, LINE):
        await create_subscription(kernel, name, "orders")
    await publish(kernel, ORDERS, *payloads("a", "b", "c", key=b"k"))
    await give_up(kernel, WORK, 3)
    assert await redrive(kernel, WORK, dry_run=True) == (3, 0, 0, False)
    assert len(await listed(kernel, WORK)) == 3
    assert await redrive(kernel, WORK, limit=2) == (2, 0, 0, True)
    assert [letter.offset for letter in await listed(kernel, WORK)] == [2]
    assert await redrive(kernel, WORK) == (1, 0, 0, False)
    assert await redrive(kernel, WORK) == (0, 0, 0, False)
    async with Subscriber.of(kernel, WORK) as stream, Subscriber.of(kernel, LINE) as other:
        await stream.credit(10)
        await other.credit(10)
        again = await stream.records(3)
        assert [(record.payload, record.attempt, record.key) for record in again] == [(text, 1, b"k") for text in "abc"]
        await stream.ack(again)
        originals = await other.records(3)
        assert [record.offset for record in originals] == [0, 1, 2]
        await other.ack(originals)
        await other.nothing_more()
        await other.close()
    for name in (WORK, LINE):
        assert (await subscription(kernel, name)).status.lag == 0


async def test_a_record_that_was_redriven_too_often_stays(kernel: Running) -> None:
    await create_subscription(kernel, WORK, "orders")
    await publish(kernel, ORDERS, *payloads("poison"))
    for redrives in range(2):
        await give_up(kernel, WORK, 1)
        (letter,) = await listed(kernel, WORK)
        assert letter.redrives == redrives
        assert await redrive(kernel, WORK, max_redrives=2) == (1, 0, 0, False)
    await give_up(kernel, WORK, 1)
    for dry_run in (True, False):
        assert await redrive(kernel, WORK, max_redrives=2, dry_run=dry_run) == (0, 1, 0, False)
    assert await redrive(kernel, WORK) == (1, 0, 0, False)  # three times may be


async def test_records_are_redriven_to_another_topic(kernel: Running) -> None:
    await create_subscription(kernel, WORK, "orders")
    await create_topic(kernel, topic_name("parked"), partitions=3)
    await create_subscription(kernel, LINE, "parked")
    await publish(kernel, ORDERS, *payloads("a", "b"))
    await give_up(kernel, WORK, 2)
    chosen = dead.DeadLetterFilter(ids=numbered(1))
    assert await redrive(kernel, WORK, topic=topic_name("parked"), filter=chosen) == (1, 0, 0, False)
    async with Subscriber.of(kernel, LINE) as stream:
        await stream.credit(10)
        (record,) = await stream.records(1)
        assert (record.topic, record.payload) == ("parked", "b")
    assert [letter.offset for letter in await listed(kernel, WORK)] == [0]


async def test_what_has_nowhere_to_go_stays(kernel: Running) -> None:
    await create_subscription(kernel, WORK, "orders")
    await publish(kernel, ORDERS, *payloads("a"))
    await give_up(kernel, WORK, 1)
    for _ in range(2):  # a topic that was created again is another
        await topics(kernel).DeleteTopic(topic_pb.DeleteTopicRequest(name=ORDERS, force=True))
        assert await redrive(kernel, WORK) == (0, 0, 1, False)
        await create_topic(kernel, ORDERS)
        assert await redrive(kernel, WORK) == (0, 0, 1, False)
    assert (await got(kernel, (await listed(kernel, WORK))[0])).record.payload == b"a"
    assert await redrive(kernel, WORK, topic=ORDERS) == (1, 0, 0, False)
    assert (await topic(kernel, ORDERS)).status.partitions[0].next_offset == 1


async def test_dead_letters_are_purged(kernel: Running) -> None:
    await create_subscription(kernel, WORK, "orders")
    await publish(kernel, ORDERS, *payloads(*"abcde"))
    await give_up(kernel, WORK, 5)

    async def purge(**fields: Any) -> tuple[int, bool]:
        answer = await letters(kernel).PurgeDeadLetters(dead.PurgeDeadLettersRequest(parent=WORK, **fields))
        return answer.purged, answer.more

    assert await purge(dry_run=True) == (5, False)
    assert await purge(limit=2, filter=dead.DeadLetterFilter(ids=numbered(0, 2, 4))) == (2, True)
    assert [letter.offset for letter in await listed(kernel, WORK)] == [1, 3, 4]
    gone = letters(kernel).GetDeadLetter(dead.GetDeadLetterRequest(name=f"{WORK}/deadLetters/{FIRST_LETTER}"))
    assert await refusal(gone) == (grpc.StatusCode.NOT_FOUND, "DEAD_LETTER_NOT_FOUND")
    assert await purge() == (3, False)
    assert await purge() == (0, False)
    status = (await subscription(kernel, WORK)).status
    assert (status.dead_letters, status.lag) == (0, 0)
    await subscriptions(kernel).DeleteSubscription(pb.DeleteSubscriptionRequest(name=WORK))
