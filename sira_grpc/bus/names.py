"""Names of the bus: of its resources, of the store keys and logs they live under, and patterns of topics."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

PREFIX = "bus/"
TOPICS = "bus/topics/"
SUBSCRIPTIONS = "bus/subscriptions/"
TRASH = "bus/trash/"
COMPACTIONS = "bus/compactions/"
OWNERS = "bus/owners/"

MAX_SEGMENT = 64
"""Characters in a segment of a key, at most."""


def namespace_of(name: str) -> str:
    """Returns the namespace name of a topic or subscription name."""
    return name[: name.index("/", len("namespaces/"))]


def namespace_in(name: str) -> str:
    """Returns the namespace name of any name in it, that of the namespace itself included."""
    return "/".join(name.split("/", 2)[:2])


def unit_of(namespace: str) -> str:
    """Returns what a namespace is called where work is placed on members: `bus/default`."""
    return PREFIX + short(namespace)


def owner_key(namespace: str) -> str:
    """Returns the store key of which member serves a namespace."""
    return OWNERS + short(namespace)


def owned_by_key(key: str) -> str:
    """Returns the namespace name of such a key."""
    return f"namespaces/{key.removeprefix(OWNERS)}"


def short(name: str) -> str:
    """Returns the last part of a topic or subscription name: `orders.eu.created`."""
    return name[name.rindex("/") + 1 :]


def topic_name(namespace: str, topic: str) -> str:
    """Returns the name of a topic in a namespace, `namespaces/{namespace}`."""
    return f"{namespace}/topics/{topic}"


def subscription_name(namespace: str, subscription: str) -> str:
    """Returns the name of a subscription in a namespace, `namespaces/{namespace}`."""
    return f"{namespace}/subscriptions/{subscription}"


def topic_key(name: str) -> str:
    """Returns the store key of a topic name.

    A key has no dots: they are written `_`, which no topic has. What is longer than a segment may be goes on in the
    next one; joined they are the topic again.
    """
    _, namespace, _, topic = name.split("/")
    text = topic.replace(".", "_")
    chunks = (text[at : at + MAX_SEGMENT] for at in range(0, len(text), MAX_SEGMENT))
    return f"{TOPICS}{namespace}/{'/'.join(chunks)}"


def topic_of_key(key: str) -> str:
    """Returns the topic name of a store key."""
    namespace, *chunks = key.removeprefix(TOPICS).split("/")
    return topic_name(f"namespaces/{namespace}", "".join(chunks).replace("_", "."))


def subscription_key(name: str) -> str:
    """Returns the store key of a subscription name."""
    _, namespace, _, subscription = name.split("/")
    return f"{SUBSCRIPTIONS}{namespace}/{subscription}"


def subscription_of_key(key: str) -> str:
    """Returns the subscription name of a store key."""
    namespace, subscription = key.removeprefix(SUBSCRIPTIONS).split("/")
    return subscription_name(f"namespaces/{namespace}", subscription)


def trash_key(trash: str) -> str:
    """Returns the store key of a list of logs that are to be deleted, by its id."""
    return TRASH + trash


def trash_of(namespace: str, uid: str, number: int) -> str:
    """Returns the id of one of the lists of a topic or subscription, counted from 0."""
    return f"{short(namespace)}/{uid}-{number}" if number else f"{short(namespace)}/{uid}"


def uid_of_trash(trash: str) -> str:
    """Returns the uid of what a list belongs to."""
    return trash.rpartition("/")[2].partition("-")[0]


def namespace_of_trash(trash: str) -> str:
    """Returns the namespace name of what a list belongs to; empty for one that an earlier version has written."""
    namespace, slash, _ = trash.partition("/")
    return f"namespaces/{namespace}" if slash else ""


def log_of(topic_uid: str, partition: int) -> str:
    """Returns the log of a partition's frames."""
    return f"{PREFIX}{topic_uid}/{partition}/log"


def marks_of(topic_uid: str, partition: int) -> str:
    """Returns the log of a partition's marks."""
    return f"{PREFIX}{topic_uid}/{partition}/marks"


def scheduled_of(topic_uid: str, partition: int) -> str:
    """Returns the log of a partition's frames whose time has not come."""
    return f"{PREFIX}{topic_uid}/{partition}/scheduled"


def released_of(topic_uid: str, partition: int) -> str:
    """Returns the log of which scheduled records of a partition were released."""
    return f"{PREFIX}{topic_uid}/{partition}/released"


def compacted_of(topic_uid: str, partition: int) -> tuple[str, str]:
    """Returns the two logs that hold what was compacted of a partition, in turn: one, while the other is written."""
    return f"{PREFIX}{topic_uid}/{partition}/compacted-0", f"{PREFIX}{topic_uid}/{partition}/compacted-1"


def compaction_key(topic_uid: str, partition: int) -> str:
    """Returns the store key of how far a partition was compacted."""
    return f"{COMPACTIONS}{topic_uid}/{partition}"


def compaction_keys(logs: Iterable[str]) -> list[str]:
    """Returns the store keys of how far partitions were compacted, by all of their logs."""
    partitions = (log.removeprefix(PREFIX).split("/") for log in logs if log.endswith("/compacted-0"))
    return [f"{COMPACTIONS}{topic_uid}/{partition}" for topic_uid, partition, _ in partitions]


def logs_of(topic_uid: str, partition: int) -> tuple[str, ...]:
    """Returns all logs of a partition."""
    kinds = (log_of, marks_of, scheduled_of, released_of)
    return *(log(topic_uid, partition) for log in kinds), *compacted_of(topic_uid, partition)


def settlements_of(subscription_uid: str, topic_uid: str, partition: int) -> str:
    """Returns the log of what a subscription has settled in a partition."""
    return f"{PREFIX}{subscription_uid}/{topic_uid}/{partition}"


def dead_of(subscription_uid: str) -> str:
    """Returns the log of a subscription's dead letters."""
    return f"{PREFIX}{subscription_uid}/dead"


def dead_removed_of(subscription_uid: str) -> str:
    """Returns the log of which dead letters of a subscription were purged or redriven."""
    return f"{PREFIX}{subscription_uid}/dead-removed"


def partition_of(key: bytes, partitions: int) -> int:
    """Returns the partition that the records of a key go to: CRC-32 of the key, modulo the number of partitions."""
    return zlib.crc32(key) % partitions


class Pattern:
    """A pattern of topics: segments joined by dots, of which `*` is any one, and `>`, at the end, one or more."""

    __slots__ = ("_open", "_segments", "text")

    def __init__(self, text: str) -> None:
        """Reads a pattern, which the rules of the protos hold for."""
        segments = text.split(".")
        self.text = text
        self._open = segments[-1] == ">"
        self._segments = tuple(segments[:-1] if self._open else segments)

    def matches(self, topic: str) -> bool:
        """Whether a topic, named without its namespace, is one of those that are meant."""
        segments = topic.split(".")
        fits = len(segments) > len(self._segments) if self._open else len(segments) == len(self._segments)
        return fits and all(map(_fits, self._segments, segments))

    def __eq__(self, other: object) -> bool:
        """Equal where the texts are."""
        return isinstance(other, Pattern) and other.text == self.text

    def __hash__(self) -> int:
        """Hashes the text."""
        return hash(self.text)

    def __repr__(self) -> str:
        """The pattern as it is written."""
        return f"Pattern({self.text!r})"


def _fits(wanted: str, segment: str) -> bool:
    return wanted in ("*", segment)
