"""What the RPCs on subscriptions and dead letters must refuse, the streams aside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from sira.bus.v1 import dead_letter_service_pb2 as dead
from sira.bus.v1 import subscription_service_pb2 as pb
from sira.bus.v1.subscription_pb2 import PartitionOffset, RetryPolicy, StartPosition, Subscription

from tests.integration.bus_kernel import subscription_name
from tests.integration.bus_topic_cases import (
    BAD_PATTERNS,
    MALFORMED_TOPICS,
    NEGATIVE,
    NOWHERE,
    pages,
    wrong_page,
)
from tests.integration.bus_world import ELSEWHERE, IDLE, LINE, NO_SUBSCRIPTION, NO_TOPIC, WORK, World
from tests.integration.registry_world import (
    DEFAULT,
    STALE,
    Case,
    Code,
    broken,
    malformed,
    missing,
    refused,
    stale,
    wrong_mask,
)

NO_TIMES = (
    Timestamp(seconds=1 << 62),
    Timestamp(seconds=-(1 << 62)),
    Timestamp(nanos=-1),
    Timestamp(nanos=1_000_000_000),
    Timestamp(seconds=253_402_300_800),
    Timestamp(seconds=-62_135_596_801),
)
"""What no Timestamp may be: beyond the years 1 to 9999, or with nanoseconds that are more than a second."""
MALFORMED_SUBSCRIPTIONS = (
    "",
    "x",
    DEFAULT,
    *(subscription_name(text) for text in ("", "Work", "-a", "a-", "a.b", "a/b", "a_b", "1a", "*", "a" * 64, "a\n")),
    "namespaces/Default/subscriptions/a",
    f"{DEFAULT}/topics/a",
)
MISSING = (NO_SUBSCRIPTION, f"{NOWHERE}/subscriptions/work", f"{ELSEWHERE}/subscriptions/work")


def subscriptions(world: World) -> Iterator[tuple[str, list[Case]]]:
    """What SubscriptionService must refuse, by RPC."""
    yield "CreateSubscription", list(_creating())
    yield "UpdateSubscription", list(_updating())
    yield "DeleteSubscription", list(_deleting())
    for name, kind in (
        ("GetSubscription", pb.GetSubscriptionRequest),
        ("PauseSubscription", pb.PauseSubscriptionRequest),
        ("ResumeSubscription", pb.ResumeSubscriptionRequest),
    ):
        yield name, list(_names("name", kind))
    yield "ListSubscriptions", list(_listing(world))
    yield "SeekSubscription", list(_seeking())


def _names(field: str, kind: Any, **fields: Any) -> Iterator[Case]:
    """What every RPC refuses that names a subscription."""
    for name in MALFORMED_SUBSCRIPTIONS:
        yield broken(field, kind(**{field: name}, **fields))
    for name in MISSING:
        yield missing("SUBSCRIPTION", kind(**{field: name}, **fields))


def _creating() -> Iterator[Case]:
    request = pb.CreateSubscriptionRequest
    yield broken("subscription", request())
    for name in MALFORMED_SUBSCRIPTIONS:
        yield broken("subscription.name", request(subscription=Subscription(name=name, topics=["a"])))
    yield broken("subscription.topics", request(subscription=Subscription(name=subscription_name("new"))))
    for field, bad in _bad_subscriptions(subscription_name("new")):
        yield broken(f"subscription.{field}", request(subscription=bad))
    for field, start in _bad_positions():
        new = Subscription(name=subscription_name("new"), topics=["orders"], start=start)
        yield broken(f"subscription.start{field}", request(subscription=new))
    nowhere = Subscription(name=f"{NOWHERE}/subscriptions/a", topics=["a"])
    yield missing("NAMESPACE", request(subscription=nowhere))
    there = Subscription(name=WORK, topics=["orders"])
    yield refused(Code.ALREADY_EXISTS, "ALREADY_EXISTS", request(subscription=there))


def _bad_subscriptions(name: str) -> Iterator[tuple[str, Subscription]]:
    """Subscriptions that break a rule, and the field."""
    read: dict[str, Any] = {"name": name, "topics": ["orders"]}
    yield "topics", Subscription(name=name, topics=[f"t{n}" for n in range(17)])
    yield "topics", Subscription(name=name, topics=["a", "b", "a"])
    for pattern in ("", *BAD_PATTERNS):
        yield "topics[1]", Subscription(name=name, topics=["orders", pattern])
    yield "description", Subscription(description="x" * 257, **read)
    for mode in (3, -1):
        yield "mode", Subscription(mode=mode, **read)  # type: ignore[arg-type]  # no such mode
    for timeout in (NEGATIVE, Duration(), Duration(nanos=99_999_999), Duration(seconds=43_200, nanos=1)):
        yield "ack_timeout", Subscription(ack_timeout=timeout, **read)
    yield "retry.max_deliveries", Subscription(retry=RetryPolicy(max_deliveries=1001), **read)
    for delay in (NEGATIVE, Duration(seconds=86_400, nanos=1)):
        yield "retry.min_backoff", Subscription(retry=RetryPolicy(min_backoff=delay), **read)
        yield "retry.max_backoff", Subscription(retry=RetryPolicy(max_backoff=delay), **read)
    crossed = RetryPolicy(min_backoff=Duration(seconds=2), max_backoff=Duration(seconds=1))
    yield "retry.max_backoff", Subscription(retry=crossed, **read)
    beyond_default = RetryPolicy(min_backoff=Duration(seconds=601))
    yield "retry.max_backoff", Subscription(retry=beyond_default, **read)
    yield "max_outstanding", Subscription(max_outstanding=200_001, **read)
    yield "etag", Subscription(etag="e" * 65, **read)


def _bad_positions() -> Iterator[tuple[str, StartPosition]]:
    """Positions in `orders`, which has two partitions, that make no sense, and the field."""
    yield ".position", StartPosition()
    yield ".offset.topic", StartPosition(offset=PartitionOffset())
    yield ".offset.topic", StartPosition(offset=PartitionOffset(topic="x" * 201))
    yield ".offset", StartPosition(offset=PartitionOffset(topic="none"))
    yield ".offset", StartPosition(offset=PartitionOffset(topic="empty"))
    for partition in (2, (1 << 32) - 1):
        yield ".offset", StartPosition(offset=PartitionOffset(topic="orders", partition=partition))
    for offset in (-1, -(1 << 63)):
        yield ".offset.offset", StartPosition(offset=PartitionOffset(topic="orders", offset=offset))
    for time in NO_TIMES:
        yield ".time", StartPosition(time=time)


def _updating() -> Iterator[Case]:
    request = pb.UpdateSubscriptionRequest
    yield broken("subscription", request())
    for name in MALFORMED_SUBSCRIPTIONS:
        yield broken("subscription.name", request(subscription=Subscription(name=name, topics=["a"])))
    for field, bad in _bad_subscriptions(IDLE):
        yield broken(f"subscription.{field}", request(subscription=bad))
    for name in MISSING:
        yield missing("SUBSCRIPTION", request(subscription=Subscription(name=name, topics=["a"])))
    yield stale(request(subscription=Subscription(name=IDLE, topics=["a"], etag=STALE)))
    for path in ("nope", "name", "topics", "mode", "start", "paused", "etag", "status", "retry.nope", ""):
        mask = FieldMask(paths=["description", path])
        yield wrong_mask(request(subscription=Subscription(name=IDLE, topics=["a"]), update_mask=mask))
    # The half of it that is masked is right with what is there only.
    half = Subscription(name=IDLE, topics=["a"], retry=RetryPolicy(min_backoff=Duration(seconds=700)))
    half.retry.max_backoff.seconds = 800
    mask = FieldMask(paths=["retry.min_backoff"])
    yield broken("subscription.retry.max_backoff", request(subscription=half, update_mask=mask))


def _deleting() -> Iterator[Case]:
    yield from _names("name", pb.DeleteSubscriptionRequest)
    yield from _names("name", pb.DeleteSubscriptionRequest, force=True)
    yield broken("etag", pb.DeleteSubscriptionRequest(name=IDLE, etag="e" * 65))
    yield stale(pb.DeleteSubscriptionRequest(name=IDLE, etag=STALE))
    yield stale(pb.DeleteSubscriptionRequest(name=WORK, etag=STALE, force=True))
    yield refused(Code.FAILED_PRECONDITION, "NOT_EMPTY", pb.DeleteSubscriptionRequest(name=WORK))


def _listing(world: World) -> Iterator[Case]:
    request = pb.ListSubscriptionsRequest
    yield from malformed("parent", request)
    yield missing("NAMESPACE", request(parent=NOWHERE))
    yield from pages(request, world, "subscriptions", parent=DEFAULT)
    yield wrong_page(request(parent=ELSEWHERE, page_token=world.page_tokens["subscriptions"]))


def _seeking() -> Iterator[Case]:
    earliest = StartPosition(earliest=StartPosition.Earliest())
    yield from _names("name", pb.SeekSubscriptionRequest, position=earliest)
    yield broken("position", pb.SeekSubscriptionRequest(name=WORK))
    for field, position in _bad_positions():
        yield broken(f"position{field}", pb.SeekSubscriptionRequest(name=WORK, position=position))


def dead_letters(world: World) -> Iterator[tuple[str, list[Case]]]:
    """What DeadLetterService must refuse, by RPC."""
    listing = dead.ListDeadLettersRequest
    foreign = listing(parent=LINE, page_token=world.page_tokens["letters"])
    filtered = listing(parent=WORK, page_token=world.page_tokens["letters"], filter=dead.DeadLetterFilter(key=b"k"))
    yield (
        "ListDeadLetters",
        [
            *_names("parent", listing),
            *pages(listing, world, "letters", parent=WORK),
            *_filters(listing),
            wrong_page(foreign),
            wrong_page(filtered),
        ],
    )
    yield "GetDeadLetter", list(_getting())
    yield "RedriveDeadLetters", list(_redriving())
    purge = dead.PurgeDeadLettersRequest
    yield (
        "PurgeDeadLetters",
        [*_names("parent", purge), *_filters(purge), broken("limit", purge(parent=WORK, limit=10_001))],
    )


def _filters(kind: Any) -> Iterator[Case]:
    """What each of them refuses that takes a filter."""
    chosen = dead.DeadLetterFilter
    for field, wanted in (
        ("key", chosen(key=bytes(1025))),
        ("headers", chosen(headers={f"h{n}": "" for n in range(17)})),
        ("reason", chosen(reason=9)),  # type: ignore[arg-type]  # no such reason
        ("topic", chosen(topic="x" * 201)),
        ("ids", chosen(ids=range(1001))),
    ):
        yield broken(f"filter.{field}", kind(parent=WORK, filter=wanted))


def _getting() -> Iterator[Case]:
    request = dead.GetDeadLetterRequest
    for name in MALFORMED_SUBSCRIPTIONS:
        yield broken("name", request(name=f"{name}/deadLetters/0"))
    for text in ("", "x", "-1", "0x1", "1.0", "1" * 19, "0/1", "\u0661"):
        yield broken("name", request(name=f"{WORK}/deadLetters/{text}"))
    for name in MISSING:
        yield missing("SUBSCRIPTION", request(name=f"{name}/deadLetters/0"))
    for number in (6, 10**18 - 1):
        yield missing("DEAD_LETTER", request(name=f"{WORK}/deadLetters/{number}"))
    yield missing("DEAD_LETTER", request(name=f"{LINE}/deadLetters/0"))


def _redriving() -> Iterator[Case]:
    request = dead.RedriveDeadLettersRequest
    yield from _names("parent", request)
    yield from _filters(request)
    yield broken("limit", request(parent=WORK, limit=10_001))
    yield broken("max_redrives", request(parent=WORK, max_redrives=1001))
    for name in MALFORMED_TOPICS:
        if name:
            yield broken("topic", request(parent=WORK, topic=name))
    yield missing("TOPIC", request(parent=WORK, topic=NO_TOPIC))
    yield missing("TOPIC", request(parent=WORK, topic=NO_TOPIC, dry_run=True))
