"""Partitions, read from their beginning to their end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.subscription_service_pb2 import (
    Credit,
    Delivery,
    OpenSubscription,
    SubscribeRequest,
    SubscribeResponse,
    Tail,
)
from sira.bus.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from sira_client.frames import FrameReader, checksum

from tests.integration.bus_kernel import NAMESPACE, BusKernel
from tests.integration.bus_ledger import Logged, name_in

CREDIT = Credit(records=1_000_000, bytes=1 << 30)
END = b"the end"
"""Payload of the record that tells that a partition was read to its end."""


def places_of(delivery: Delivery) -> Iterator[tuple[int, int]]:
    """Yields the records of a delivery: the index of each in its frame, and its offset."""
    count = FrameReader(delivery.frame).count
    offsets: Sequence[int] = delivery.offsets or range(delivery.base_offset, delivery.base_offset + count)
    for index, offset in enumerate(offsets):
        if not delivery.ranges or any(each.first <= offset < each.end for each in delivery.ranges):
            yield index, offset


async def read_log(kernel: BusKernel, topic: str, partitions: int) -> dict[int, list[Logged]]:
    """Returns what the partitions of a topic hold, by their numbers. A record is published to each, to know its end."""
    log: dict[int, list[Logged]] = defaultdict(list)
    for partition in range(partitions):
        await kernel.publish(topic, [Record(payload=END)], partition)
    ended = set[int]()
    async with kernel.connect() as channel:
        stub: Any = SubscriptionServiceStub(channel)
        call = stub.Subscribe()
        tail = Tail(parent=NAMESPACE, topics=[topic])
        tail.start.earliest.SetInParent()
        await call.write(SubscribeRequest(open=OpenSubscription(tail=tail)))
        await call.write(SubscribeRequest(credit=CREDIT))
        while len(ended) < partitions:
            response = await call.read()
            assert isinstance(response, SubscribeResponse), "the tail has ended"
            if response.HasField("delivery") and _note(response.delivery, log[response.delivery.partition]):
                ended.add(response.delivery.partition)
        call.cancel()
    return log


def _note(delivery: Delivery, log: list[Logged]) -> bool:
    """Adds the records of a delivery to a log, and returns whether the last of them is the end."""
    assert checksum(delivery.frame) == delivery.checksum
    reader = FrameReader(delivery.frame)
    publish_ns = delivery.publish_time.ToNanoseconds()
    for index, offset in places_of(delivery):
        payload = reader.payload(index)
        if payload == END:
            return True
        log.append(Logged(name_in(payload), reader.key(index), offset, publish_ns))
    return False
