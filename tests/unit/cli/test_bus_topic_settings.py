"""The settings of topics and subscriptions in words, with the defaults that the protos state."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from sira.bus.v1.subscription_pb2 import RetryPolicy, Subscription, SubscriptionMode
from sira.bus.v1.topic_pb2 import Compaction, Durability, Retention, Topic, TopicLimits, WhenFull

from sira_grpc.cli.bus import subscription_settings, topic_settings


def test_a_topic_of_defaults() -> None:
    topic = Topic()
    assert topic_settings.durability(topic) == "disk"
    assert topic_settings.retention(topic) == "7d"
    assert topic_settings.compaction(topic) == ""
    assert topic_settings.deduplication(topic) == "2m"
    assert topic_settings.limits(topic) == "1.0 MiB a record"


def test_a_topic_in_memory_is_bounded() -> None:
    assert topic_settings.retention(Topic(durability=Durability.DURABILITY_MEMORY)) == "7d, 64.0 MiB"


def test_a_topic_with_everything_set() -> None:
    topic = Topic(
        retention=Retention(
            max_age=Duration(), max_bytes=1 << 30, max_records=1000, when_full=WhenFull.WHEN_FULL_REFUSE
        ),
        compaction=Compaction(min_age=Duration(seconds=90)),
        limits=TopicLimits(max_record_bytes=1024, records_per_second=5000, bytes_per_second=1 << 20),
        deduplication_window=Duration(),
    )
    assert topic_settings.retention(topic) == "for ever, 1.0 GiB, 1,000 records, refuses when full"
    assert topic_settings.compaction(topic) == "last of each key after 1m30s, deletions kept for 1d"
    assert topic_settings.deduplication(topic) == "off"
    assert topic_settings.limits(topic) == "1.0 KiB a record, 5,000 records/s, 1.0 MiB/s"


def test_a_subscription_of_defaults() -> None:
    subscription = Subscription()
    assert subscription_settings.mode(subscription) == "queue"
    assert subscription_settings.ack_timeout(subscription) == "30s"
    assert subscription_settings.retry(subscription) == "10 deliveries, 1s to 10m apart"


def test_a_subscription_with_everything_set() -> None:
    subscription = Subscription(
        mode=SubscriptionMode.SUBSCRIPTION_MODE_ORDERED,
        ack_timeout=Duration(nanos=500_000_000),
        retry=RetryPolicy(max_deliveries=3, min_backoff=Duration(), max_backoff=Duration(seconds=5)),
    )
    assert subscription_settings.mode(subscription) == "ordered"
    assert subscription_settings.ack_timeout(subscription) == "500ms"
    assert subscription_settings.retry(subscription) == "3 deliveries, 0s to 5s apart"
