"""What topics and subscriptions are set to, with the defaults that their protos state filled in."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from sira.bus.v1.subscription_pb2 import Subscription, SubscriptionMode
from sira.bus.v1.topic_pb2 import Durability, Topic, WhenFull

from sira_grpc.bus.names import Pattern
from sira_grpc.times import NANOS, seconds

DAY_NS = 86_400 * NANOS
DEFAULT_MAX_AGE_NS = 7 * DAY_NS
DEFAULT_MEMORY_BYTES = 64 << 20
DEFAULT_MIN_AGE_NS = 60 * NANOS
DEFAULT_TOMBSTONE_AGE_NS = DAY_NS
DEFAULT_MAX_RECORD_BYTES = 1 << 20
DEFAULT_DEDUPLICATION_NS = 120 * NANOS
DEFAULT_ACK_TIMEOUT = 30.0
DEFAULT_MAX_DELIVERIES = 10
DEFAULT_MIN_BACKOFF = 1.0
DEFAULT_MAX_BACKOFF = 600.0
DEFAULT_MAX_OUTSTANDING = 20_000


@dataclass(frozen=True, slots=True)
class CompactionSettings:
    """How a topic is compacted. Nanoseconds.

    Attributes:
        min_age_ns: records younger than this stay.
        tombstone_age_ns: for how long a record that deletes its key is kept.
    """

    min_age_ns: int
    tombstone_age_ns: int


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """What a topic is set to.

    Attributes:
        partitions: how many there are.
        durability: DISK or MEMORY.
        max_age_ns: records older than this go, in nanoseconds; None for never.
        max_bytes: bytes that a partition may hold; None for any number.
        max_records: records that a partition may hold; None for any number.
        refuse_when_full: a publish beyond max_bytes or max_records is refused; otherwise the oldest records go.
        compaction: None where all records of a key are kept.
        max_record_bytes: size of one record's key, payload and attributes.
        records_per_second: from one publisher; 0 for any number.
        bytes_per_second: from one publisher; 0 for any number.
        deduplication_ns: for how long a record's id is remembered, in nanoseconds; 0 for not at all.
    """

    partitions: int
    durability: Durability.ValueType
    max_age_ns: int | None
    max_bytes: int | None
    max_records: int | None
    refuse_when_full: bool
    compaction: CompactionSettings | None
    max_record_bytes: int
    records_per_second: int
    bytes_per_second: int
    deduplication_ns: int

    @property
    def in_memory(self) -> bool:
        """Whether records are gone when the kernel ends."""
        return self.durability == Durability.DURABILITY_MEMORY

    @classmethod
    def of(cls, topic: Topic) -> TopicSettings:
        """Works them out."""
        retention, limits = topic.retention, topic.limits
        durability = topic.durability or Durability.DURABILITY_DISK
        in_memory = durability == Durability.DURABILITY_MEMORY
        # What compaction keeps is kept for good, unless an age was given.
        default_age_ns = 0 if topic.HasField("compaction") else DEFAULT_MAX_AGE_NS
        max_age_ns = _nanos(retention.max_age, default_age_ns, given=retention.HasField("max_age"))
        return cls(
            partitions=topic.partitions or 1,
            durability=durability,
            max_age_ns=max_age_ns or None,
            max_bytes=retention.max_bytes or (DEFAULT_MEMORY_BYTES if in_memory else None),
            max_records=retention.max_records or None,
            refuse_when_full=retention.when_full == WhenFull.WHEN_FULL_REFUSE,
            compaction=_compaction(topic),
            max_record_bytes=limits.max_record_bytes or DEFAULT_MAX_RECORD_BYTES,
            records_per_second=limits.records_per_second,
            bytes_per_second=limits.bytes_per_second,
            deduplication_ns=_nanos(
                topic.deduplication_window, DEFAULT_DEDUPLICATION_NS, given=topic.HasField("deduplication_window")
            ),
        )


def _compaction(topic: Topic) -> CompactionSettings | None:
    if not topic.HasField("compaction"):
        return None
    given = topic.compaction
    return CompactionSettings(
        min_age_ns=_nanos(given.min_age, DEFAULT_MIN_AGE_NS, given=given.HasField("min_age")),
        tombstone_age_ns=_nanos(given.tombstone_age, DEFAULT_TOMBSTONE_AGE_NS, given=given.HasField("tombstone_age")),
    )


@dataclass(frozen=True, slots=True)
class SubscriptionSettings:
    """What a subscription is set to.

    Attributes:
        ordered: the records of a key go to one consumer at a time, in their order.
        ack_timeout: seconds that a consumer may take to acknowledge a record.
        max_deliveries: deliveries after which a record becomes a dead letter.
        min_backoff: delay after the first delivery, in seconds.
        max_backoff: longest delay, in seconds.
        max_outstanding: records that may be with consumers, in each partition.
        patterns: of the topics that it reads.
    """

    ordered: bool
    ack_timeout: float
    max_deliveries: int
    min_backoff: float
    max_backoff: float
    max_outstanding: int
    patterns: tuple[Pattern, ...]

    def reads(self, topic: str) -> bool:
        """Whether it reads a topic, named without its namespace."""
        return any(pattern.matches(topic) for pattern in self.patterns)

    @classmethod
    def of(cls, subscription: Subscription) -> SubscriptionSettings:
        """Works them out."""
        retry = subscription.retry
        return cls(
            ordered=subscription.mode == SubscriptionMode.SUBSCRIPTION_MODE_ORDERED,
            ack_timeout=seconds(subscription.ack_timeout)
            if subscription.HasField("ack_timeout")
            else DEFAULT_ACK_TIMEOUT,
            max_deliveries=retry.max_deliveries or DEFAULT_MAX_DELIVERIES,
            min_backoff=seconds(retry.min_backoff) if retry.HasField("min_backoff") else DEFAULT_MIN_BACKOFF,
            max_backoff=seconds(retry.max_backoff) if retry.HasField("max_backoff") else DEFAULT_MAX_BACKOFF,
            max_outstanding=subscription.max_outstanding or DEFAULT_MAX_OUTSTANDING,
            patterns=tuple(map(Pattern, subscription.topics)),
        )


def _nanos(value: Duration, default: int, *, given: bool) -> int:
    return value.seconds * NANOS + value.nanos if given else default
