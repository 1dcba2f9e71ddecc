"""What tests of consumers ask for, and look at."""

from __future__ import annotations

from sira.bus.v1.subscription_service_pb2 import SubscribeRequest
from sira_client.frames import pack_columns

from tests.unit.client.bus.partitions import Partition
from tests.unit.client.bus.streams import ConsumerStream, KnownSubscription


def fill(partition: Partition, count: int, each: int = 10) -> None:
    for first in range(0, count, each):
        partition.append(pack_columns([b"%d" % i for i in range(first, min(count, first + each))]))


def offsets(billing: KnownSubscription) -> set[int]:
    return {offset for _, _, offset in billing.acked}


def asked(stream: ConsumerStream, what: str) -> list[SubscribeRequest]:
    return [request for request in stream.requests if request.WhichOneof("action") == what]
