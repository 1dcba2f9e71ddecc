"""What the RPCs on topics must refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from sira.bus.v1 import topic_service_pb2 as pb
from sira.bus.v1.topic_pb2 import Compaction, Retention, Topic, TopicLimits

from tests.integration.bus_kernel import topic_name
from tests.integration.bus_world import ELSEWHERE, EMPTY, NO_TOPIC, ORDERS, World
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

NOWHERE = "namespaces/none"
MALFORMED_TOPICS = (
    "",
    "x",
    DEFAULT,
    topic_name(""),
    topic_name("Orders"),
    topic_name("a/b"),
    topic_name("a_b"),
    topic_name("*"),
    topic_name("x" * 260),
    "namespaces/Default/topics/a",
    f"{DEFAULT}/subscriptions/a",
    f"{DEFAULT}/topics/a ",
    f"{DEFAULT}/topics/a\n",
)
"""What no RPC takes for the name of a topic."""
MISSHAPEN_TOPICS = (
    *(topic_name(text) for text in ("-a", "a-", ".a", "a.", "a..b", "a.-b", "a" * 64, "a.b.c.d.e.f.g.h.i")),
    topic_name(".".join(["a" * 63] * 3 + ["a" * 9])),  # 201 characters
)
"""What is no name of a topic either, so that none can be created."""
BAD_PATTERNS = (">.a", "a.>.b", "a..b", "A", "*a", "a*", "a.", ".a", "**", "a b", "a.b.c.d.e.f.g.h.i", "a." * 100 + "a")
TOO_LONG = Duration(seconds=315_360_000, nanos=1)
NEGATIVE = Duration(nanos=-1)


def topics(world: World) -> Iterator[tuple[str, list[Case]]]:
    """What TopicService must refuse, by RPC."""
    yield "CreateTopic", list(_creating())
    yield "UpdateTopic", list(_updating())
    yield "DeleteTopic", list(_deleting())
    for name, kind in (("GetTopic", pb.GetTopicRequest), ("VerifyTopic", pb.VerifyTopicRequest)):
        yield name, list(_names(kind))
    yield "ListTopics", list(_listing(world))


def _names(kind: Any, **fields: Any) -> Iterator[Case]:
    """What every RPC refuses that names a topic."""
    for name in MALFORMED_TOPICS:
        yield broken("name", kind(name=name, **fields))
    for name in (NO_TOPIC, f"{NOWHERE}/topics/orders", f"{ELSEWHERE}/topics/orders", topic_name("a..b")):
        yield missing("TOPIC", kind(name=name, **fields))


def _creating() -> Iterator[Case]:
    request = pb.CreateTopicRequest
    yield broken("topic", request())
    for name in (*MALFORMED_TOPICS, *MISSHAPEN_TOPICS):
        yield broken("topic.name", request(topic=Topic(name=name)))
    for field, topic in _bad_topics(topic_name("new")):
        yield broken(f"topic.{field}", request(topic=topic))
    yield missing("NAMESPACE", request(topic=Topic(name=f"{NOWHERE}/topics/a")))
    yield refused(Code.ALREADY_EXISTS, "ALREADY_EXISTS", request(topic=Topic(name=ORDERS)))
    yield refused(Code.ALREADY_EXISTS, "ALREADY_EXISTS", request(topic=Topic(name=ORDERS, partitions=3)))


def _bad_topics(name: str) -> Iterator[tuple[str, Topic]]:
    """Topics that break a rule, and the field."""
    yield "description", Topic(name=name, description="x" * 257)
    yield "partitions", Topic(name=name, partitions=257)
    yield "partitions", Topic(name=name, partitions=(1 << 32) - 1)
    for durability in (3, -1):
        yield "durability", Topic(name=name, durability=durability)  # type: ignore[arg-type]  # no such durability
        retention = Retention(when_full=durability)  # type: ignore[arg-type]  # nor this
        yield "retention.when_full", Topic(name=name, retention=retention)
    for age in (NEGATIVE, Duration(seconds=-5), TOO_LONG):
        yield "retention.max_age", Topic(name=name, retention=Retention(max_age=age))
        yield "compaction.min_age", Topic(name=name, compaction=Compaction(min_age=age))
        yield "compaction.tombstone_age", Topic(name=name, compaction=Compaction(tombstone_age=age))
    yield "limits.max_record_bytes", Topic(name=name, limits=TopicLimits(max_record_bytes=(1 << 20) + 1))
    for window in (NEGATIVE, Duration(seconds=86_400, nanos=1)):
        yield "deduplication_window", Topic(name=name, deduplication_window=window)
    yield "etag", Topic(name=name, etag="e" * 65)


def _updating() -> Iterator[Case]:
    request = pb.UpdateTopicRequest
    yield broken("topic", request())
    for name in (*MALFORMED_TOPICS, *MISSHAPEN_TOPICS[:-1]):
        yield broken("topic.name", request(topic=Topic(name=name)))
    for field, topic in _bad_topics(EMPTY):
        yield broken(f"topic.{field}", request(topic=topic))
    for name in (NO_TOPIC, f"{NOWHERE}/topics/orders", MISSHAPEN_TOPICS[-1]):
        yield missing("TOPIC", request(topic=Topic(name=name)))
    yield stale(request(topic=Topic(name=EMPTY, etag=STALE)))
    for path in ("nope", "name", "partitions", "durability", "status", "etag", "create_time", "retention.nope", ""):
        yield wrong_mask(request(topic=Topic(name=EMPTY), update_mask=FieldMask(paths=["description", path])))


def _deleting() -> Iterator[Case]:
    yield from _names(pb.DeleteTopicRequest)
    yield from _names(pb.DeleteTopicRequest, force=True)
    yield broken("etag", pb.DeleteTopicRequest(name=EMPTY, etag="e" * 65))
    yield stale(pb.DeleteTopicRequest(name=EMPTY, etag=STALE))
    yield stale(pb.DeleteTopicRequest(name=ORDERS, etag=STALE, force=True))
    yield refused(Code.FAILED_PRECONDITION, "NOT_EMPTY", pb.DeleteTopicRequest(name=ORDERS))


def _listing(world: World) -> Iterator[Case]:
    request = pb.ListTopicsRequest
    yield from malformed("parent", request)
    yield missing("NAMESPACE", request(parent=NOWHERE))
    for pattern in BAD_PATTERNS:
        yield broken("pattern", request(parent=DEFAULT, pattern=pattern))
    yield from pages(request, world, "topics", parent=DEFAULT)
    yield wrong_page(request(parent=DEFAULT, pattern="orders", page_token=world.page_tokens["topics"]))
    yield wrong_page(request(parent=ELSEWHERE, page_token=world.page_tokens["topics"]))


def pages(kind: Any, world: World, own: str, **fields: Any) -> Iterator[Case]:
    """What every list refuses; own: whose page token is its own."""
    for size in (-1, -(1 << 31)):
        yield broken("page_size", kind(page_size=size, **fields))
    yield broken("page_token", kind(page_token="x" * 1025, **fields))
    for token in ("abc", "\u00e9", "a" * 1024, *(token for name, token in world.page_tokens.items() if name != own)):
        yield wrong_page(kind(page_token=token, **fields))


def wrong_page(request: Any) -> Case:
    """A request with a page token that is not of this list."""
    return refused(Code.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", request)
