"""What goes on while the kernel is killed: topics and subscriptions that are created, used and deleted."""

from __future__ import annotations

import random
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from sira.bus.internal.v1.subscription_record_pb2 import SubscriptionRecord
from sira.bus.internal.v1.topic_record_pb2 import TopicRecord
from sira.bus.v1 import subscription_service_pb2 as pb
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.subscription_service_pb2_grpc import SubscriptionServiceStub

from tests.integration.bus_kernel import BusKernel, ended, subscription_name
from tests.integration.bus_ledger import Findings
from tests.integration.bus_life import Life
from tests.kernel_store import opened, partitions

TOPIC = "crash.gone"
SUBSCRIPTION = "crash-gone"
PARTITIONS = 2
RECORDS = 20
SETTLED = 10


class Deletions:
    """A topic and a subscription that come and go, with records, schedules, settlements and dead letters in them."""

    def __init__(self, rng: random.Random, findings: Findings) -> None:
        self.kinds = {"deleted": 6, "created": 4}
        self._rng = rng
        self._findings = findings
        # Whether they are there; None where an answer was lost.
        self._there: dict[str, bool | None] = {TOPIC: False, SUBSCRIPTION: False}

    async def prepare(self, kernel: BusKernel) -> None:
        """It creates what it needs again and again."""

    async def resume(self, life: Life) -> None:
        """What was deleted is gone, and what was created is there."""
        for name, read in ((TOPIC, life.kernel.topic), (SUBSCRIPTION, life.kernel.subscription)):
            there = await _succeeds(read(name))
            if self._there[name] not in (None, there):
                self._findings.violation("deleted or not", f"{name} is there: {there}")
            self._there[name] = there

    def tasks(self, life: Life) -> Sequence[Coroutine[Any, Any, None]]:
        return [self._come_and_go(life)]

    async def _come_and_go(self, life: Life) -> None:
        kernel = life.kernel
        while not (life.draining or life.killed):
            if not self._there[TOPIC]:
                await self._make(TOPIC, kernel.create_topic(TOPIC, partitions=PARTITIONS), there=True)
                life.seen("created")
            if not self._there[SUBSCRIPTION]:
                await self._make(SUBSCRIPTION, kernel.create_subscription(SUBSCRIPTION, TOPIC), there=True)
            await self._use(kernel)
            gone = [(TOPIC, kernel.delete_topic), (SUBSCRIPTION, kernel.delete_subscription)]
            self._rng.shuffle(gone)
            for name, delete in gone:
                await self._make(name, delete(name), there=False)
                life.seen("deleted")

    async def _make(self, name: str, command: Coroutine[Any, Any, Any], *, there: bool) -> None:
        self._there[name] = None
        await command
        self._there[name] = there

    async def _use(self, kernel: BusKernel) -> None:
        """Leaves something in every log that there can be."""
        fresh = all(each.next_offset == each.scheduled == 0 for each in (await kernel.topic(TOPIC)).status.partitions)
        for partition in range(PARTITIONS):
            answer = await kernel.publish(TOPIC, [Record(payload=b"now")] * RECORDS, partition)
            if fresh and answer.records[0].offset:
                self._findings.violation("not fresh", f"{TOPIC}/{partition} begins at {answer.records[0].offset}")
            later = Timestamp()
            later.FromNanoseconds(time.time_ns() + self._rng.randint(1, 3600_000) * 1_000_000)
            await kernel.publish(TOPIC, [Record(payload=b"later", deliver_at=later)], partition)
        async with kernel.connect() as channel:
            await _settle_some(channel)

    async def drain(self, life: Life) -> None:
        """Deletes what is there."""
        for name, delete in ((TOPIC, life.kernel.delete_topic), (SUBSCRIPTION, life.kernel.delete_subscription)):
            if self._there[name]:
                await delete(name)

    async def check(self, kernel: BusKernel) -> None:
        """That nothing is left is seen in the store, once the kernel has ended."""
        assert not await _succeeds(kernel.topic(TOPIC))


async def _succeeds(call: Coroutine[Any, Any, object]) -> bool:
    try:
        await call
    except aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND:
            raise
        return False
    return True


async def _settle_some(channel: aio.Channel) -> None:
    """Acknowledges some records, and gives some up."""
    stub: Any = SubscriptionServiceStub(channel)
    call = stub.Subscribe()
    opening = pb.OpenSubscription(subscription=subscription_name(SUBSCRIPTION))
    await call.write(pb.SubscribeRequest(open=opening))
    await call.write(pb.SubscribeRequest(credit=pb.Credit(records=SETTLED, bytes=1 << 20)))
    delivery = await _next(call, "delivery")
    first = delivery.ranges[0].first if delivery.ranges else delivery.base_offset
    done = pb.Settlement(topic=TOPIC, partition=delivery.partition)
    done.ranges.add(first=first, end=first + SETTLED // 2)
    done.ack.SetInParent()
    dead = pb.Settlement(topic=TOPIC, partition=delivery.partition)
    dead.ranges.add(first=first + SETTLED // 2, end=first + SETTLED)
    dead.terminate.detail = "to leave something"
    await call.write(pb.SubscribeRequest(settle=pb.Settle(settlements=[done, dead])))
    await _next(call, "settled")
    call.cancel()


async def _next(call: Any, kind: str) -> Any:
    """Returns the next event of a kind."""
    while True:
        response = await call.read()
        if response is aio.EOF:
            raise await ended(call)
        if response.HasField(kind):
            return getattr(response, kind)


async def check_leftovers(folder: Path) -> None:
    """Every log of the bus, in a store that no kernel holds, belongs to topics and subscriptions that are there."""
    async with opened(folder) as store:
        uids = {TopicRecord.FromString(each.value).uid for each in (await store.snapshot("bus/topics/")).entries}
        snapshot = await store.snapshot("bus/subscriptions/")
        uids |= {SubscriptionRecord.FromString(each.value).uid for each in snapshot.entries}
    logs = [name for name in await partitions(folder) if name.startswith("bus/")]
    assert logs
    for log in logs:
        named = {part for part in log.split("/") if len(part) == 16}
        assert named
        assert named <= uids, f"{log} is left over"
