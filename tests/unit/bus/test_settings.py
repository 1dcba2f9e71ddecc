"""Settings: what a topic or subscription is set to where it says something, and where it says nothing."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from sira.bus.v1.subscription_pb2 import RetryPolicy, Subscription, SubscriptionMode
from sira.bus.v1.topic_pb2 import Compaction, Durability, Retention, Topic, TopicLimits, WhenFull

from sira_grpc.bus.names import Pattern
from sira_grpc.bus.settings import CompactionSettings, SubscriptionSettings, TopicSettings

SECOND = 10**9
ZERO = Duration()


def test_a_topic_that_says_nothing_has_the_defaults_of_its_proto() -> None:
    assert TopicSettings.of(Topic()) == TopicSettings(
        partitions=1,
        durability=Durability.DURABILITY_DISK,
        max_age_ns=7 * 86_400 * SECOND,
        max_bytes=None,
        max_records=None,
        refuse_when_full=False,
        compaction=None,
        max_record_bytes=1 << 20,
        records_per_second=0,
        bytes_per_second=0,
        deduplication_ns=120 * SECOND,
    )
    assert not TopicSettings.of(Topic()).in_memory


def test_a_topic_is_set_to_what_it_says() -> None:
    said = Topic(
        partitions=12,
        durability=Durability.DURABILITY_MEMORY,
        retention=Retention(
            max_age=Duration(seconds=3, nanos=5), max_bytes=10, max_records=20, when_full=WhenFull.WHEN_FULL_REFUSE
        ),
        compaction=Compaction(min_age=Duration(seconds=1), tombstone_age=Duration(seconds=2)),
        limits=TopicLimits(max_record_bytes=100, records_per_second=200, bytes_per_second=1 << 40),
        deduplication_window=Duration(nanos=7),
    )
    assert TopicSettings.of(said) == TopicSettings(
        partitions=12,
        durability=Durability.DURABILITY_MEMORY,
        max_age_ns=3 * SECOND + 5,
        max_bytes=10,
        max_records=20,
        refuse_when_full=True,
        compaction=CompactionSettings(min_age_ns=SECOND, tombstone_age_ns=2 * SECOND),
        max_record_bytes=100,
        records_per_second=200,
        bytes_per_second=1 << 40,
        deduplication_ns=7,
    )
    assert TopicSettings.of(said).in_memory


def test_zero_is_not_absent() -> None:
    settings = TopicSettings.of(
        Topic(
            retention=Retention(max_age=ZERO),
            compaction=Compaction(min_age=ZERO, tombstone_age=ZERO),
            deduplication_window=ZERO,
        )
    )
    assert settings.max_age_ns is None
    assert settings.compaction == CompactionSettings(min_age_ns=0, tombstone_age_ns=0)
    assert settings.deduplication_ns == 0


@pytest.mark.parametrize(("retention", "max_bytes"), [(Retention(), 64 << 20), (Retention(max_bytes=1 << 30), 1 << 30)])
def test_a_topic_in_memory_is_bounded(retention: Retention, max_bytes: int) -> None:
    topic = Topic(durability=Durability.DURABILITY_MEMORY, retention=retention)
    assert TopicSettings.of(topic).max_bytes == max_bytes


def test_compaction_has_defaults_of_its_own() -> None:
    settings = TopicSettings.of(Topic(compaction=Compaction()))
    assert settings.compaction == CompactionSettings(min_age_ns=60 * SECOND, tombstone_age_ns=86_400 * SECOND)
    assert settings.max_age_ns is None, "the last record of a key is kept for good"


def test_a_subscription_that_says_nothing_has_the_defaults_of_its_proto() -> None:
    assert SubscriptionSettings.of(Subscription(topics=["a.*"])) == SubscriptionSettings(
        ordered=False,
        ack_timeout=30,
        max_deliveries=10,
        min_backoff=1,
        max_backoff=600,
        max_outstanding=20_000,
        patterns=(Pattern("a.*"),),
    )


def test_a_subscription_is_set_to_what_it_says() -> None:
    said = Subscription(
        topics=["a", "b.>"],
        mode=SubscriptionMode.SUBSCRIPTION_MODE_ORDERED,
        ack_timeout=Duration(nanos=100_000_000),
        retry=RetryPolicy(max_deliveries=3, min_backoff=ZERO, max_backoff=Duration(seconds=2)),
        max_outstanding=7,
    )
    assert SubscriptionSettings.of(said) == SubscriptionSettings(
        ordered=True,
        ack_timeout=0.1,
        max_deliveries=3,
        min_backoff=0,
        max_backoff=2,
        max_outstanding=7,
        patterns=(Pattern("a"), Pattern("b.>")),
    )


def test_a_subscription_reads_what_one_of_its_patterns_means() -> None:
    settings = SubscriptionSettings.of(Subscription(topics=["a", "b.>"]))
    assert [topic for topic in ("a", "b", "b.c", "c") if settings.reads(topic)] == ["a", "b.c"]
