"""The client of the bus: durable messages, in frames."""

from sira.bus.v1.dead_letter_pb2 import DeadLetter, DeadLetterReason
from sira.bus.v1.dead_letter_service_pb2 import DeadLetterFilter
from sira.bus.v1.record_pb2 import Attributes, CloudEvent, TraceContext
from sira.bus.v1.subscription_pb2 import PartitionOffset, RetryPolicy, Subscription, SubscriptionStatus
from sira.bus.v1.topic_pb2 import Compaction, Retention, Topic, TopicLimits, WhenFull

from sira_client.bus.ack import Ack
from sira_client.bus.batch import Batch
from sira_client.bus.bus import Bus
from sira_client.bus.compression import Compression
from sira_client.bus.consumer import Consumer
from sira_client.bus.dead_letters import DeadLetters
from sira_client.bus.durability import Durability
from sira_client.bus.positions import Position
from sira_client.bus.producer import Producer
from sira_client.bus.record import ReadRecord, Record
from sira_client.bus.subscriptions import Mode, Subscriptions
from sira_client.bus.tail import TailStart
from sira_client.bus.topics import Topics

__all__ = [
    "Ack",
    "Attributes",
    "Batch",
    "Bus",
    "CloudEvent",
    "Compaction",
    "Compression",
    "Consumer",
    "DeadLetter",
    "DeadLetterFilter",
    "DeadLetterReason",
    "DeadLetters",
    "Durability",
    "Mode",
    "PartitionOffset",
    "Position",
    "Producer",
    "ReadRecord",
    "Record",
    "Retention",
    "RetryPolicy",
    "Subscription",
    "SubscriptionStatus",
    "Subscriptions",
    "TailStart",
    "Topic",
    "TopicLimits",
    "Topics",
    "TraceContext",
    "WhenFull",
]
