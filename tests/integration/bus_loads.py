"""What goes on while the kernel is killed: publishing, consuming in both modes, and schedules."""

from __future__ import annotations

import random
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from google.protobuf.duration_pb2 import Duration
from sira.bus.v1.subscription_pb2 import RetryPolicy, SubscriptionMode

from tests.integration.bus_consumer import Act, Consumer, Delivered, mostly_ack
from tests.integration.bus_kernel import BusKernel
from tests.integration.bus_ledger import Account, Findings, Ledger
from tests.integration.bus_life import Life
from tests.integration.bus_producer import FramesProducer
from tests.integration.bus_tail import read_log

ORDERED = SubscriptionMode.SUBSCRIPTION_MODE_ORDERED
BACKLOG = 1500
"""Records that wait to be consumed, beyond which nothing more is published."""


class Load(Protocol):
    """Something that goes on through all the lives of a kernel, and knows what it must find."""

    kinds: dict[str, int]
    """Events that it brings about, and after how many of them a kill makes sense."""

    async def prepare(self, kernel: BusKernel) -> None:
        """Creates what it needs, once."""

    async def resume(self, life: Life) -> None:
        """Looks at what the life before has left, before anything else is done."""

    def tasks(self, life: Life) -> Sequence[Coroutine[Any, Any, None]]:
        """What goes on until the kernel is gone; in the last life, until it is cancelled."""

    async def drain(self, life: Life) -> None:
        """Returns when everything that was begun is finished."""

    async def check(self, kernel: BusKernel) -> None:
        """Compares what there is with what there must be."""


def milliseconds(number: int) -> Duration:
    """A duration."""
    duration = Duration()
    duration.FromMilliseconds(number)
    return duration


def retry(max_deliveries: int) -> RetryPolicy:
    """Delivers again almost at once."""
    return RetryPolicy(max_deliveries=max_deliveries, min_backoff=milliseconds(5), max_backoff=milliseconds(20))


class Streams:
    """Producers of all kinds, and a subscription of each mode with several consumers."""

    def __init__(self, rng: random.Random, findings: Findings, *, partitions: int = 3, consumers: int = 3) -> None:
        self.kinds = {"published": 80, "delivered": 700, "settled": 700, "ready": 1}
        self._partitions = partitions
        self._ledger = ledger = Ledger("crash.streams", findings)
        self._accounts = [Account("crash-queue", ledger), Account("crash-ordered", ledger, ordered=True)]
        self._producers = [
            FramesProducer(name, ledger, partitions, rng, by_ids=name == "ids", room=self._room)
            for name in ("sequences", "more-sequences", "ids")
        ]
        self._consumers = [
            Consumer(account, rng, mostly_ack(rng), stay=40) for account in self._accounts for _ in range(consumers)
        ]

    def _room(self) -> bool:
        return all(account.backlog < BACKLOG for account in self._accounts)

    async def prepare(self, kernel: BusKernel) -> None:
        topic = self._ledger.topic
        await kernel.create_topic(topic, partitions=self._partitions)
        for account in self._accounts:
            mode = {"mode": ORDERED} if account.ordered else {}
            await kernel.create_subscription(
                account.name, topic, ack_timeout=milliseconds(400), retry=retry(1000), **mode
            )

    async def resume(self, life: Life) -> None:
        """Nothing is known that could be looked at before it goes on."""

    def tasks(self, life: Life) -> Sequence[Coroutine[Any, Any, None]]:
        return [*(each.run(life) for each in self._producers), *(each.run(life) for each in self._consumers)]

    async def drain(self, life: Life) -> None:
        while not all(producer.idle for producer in self._producers):
            await life.news()
        await life.kernel.drained(*(account.name for account in self._accounts))

    async def check(self, kernel: BusKernel) -> None:
        for partition, log in (await read_log(kernel, self._ledger.topic, self._partitions)).items():
            self._ledger.check_log(partition, log)
        for account in self._accounts:
            account.check()
        assert all(record.acknowledged for record in self._ledger.records.values())


class Schedules:
    """Records that are to be delivered later."""

    MOST_AHEAD_MS = 1500

    def __init__(self, rng: random.Random, findings: Findings, *, partitions: int = 2) -> None:
        self.kinds = {"due": 30}
        self._partitions = partitions
        self._rng = rng
        self._findings = findings
        self._ledger = ledger = Ledger("crash.schedules", findings, in_order=False)
        self._account = Account("crash-schedules", ledger)
        self._producer = FramesProducer(
            "later", ledger, partitions, rng, room=lambda: self._account.backlog < 300, deliver_at=self._deliver_at
        )
        self._consumers = [Consumer(self._account, rng, self._decide) for _ in range(2)]
        self._life: Life | None = None

    def _deliver_at(self) -> int:
        return time.time_ns() + self._rng.randint(-100, self.MOST_AHEAD_MS) * 1_000_000

    def _decide(self, delivered: Delivered, life: Life) -> Act:
        record = delivered.record
        if record.deliver_at_ns:
            if time.time_ns() < record.deliver_at_ns:
                self._findings.violation("early", f"{record.name} was delivered before its time")
            life.seen("due")
        return Act.ACK

    async def prepare(self, kernel: BusKernel) -> None:
        await kernel.create_topic(self._ledger.topic, partitions=self._partitions)
        await kernel.create_subscription(self._account.name, self._ledger.topic, retry=retry(1000))

    async def resume(self, life: Life) -> None:
        """Nothing is known that could be looked at before it goes on."""

    def tasks(self, life: Life) -> Sequence[Coroutine[Any, Any, None]]:
        return [self._producer.run(life), *(each.run(life) for each in self._consumers)]

    async def drain(self, life: Life) -> None:
        while not self._producer.idle or self._account.backlog:
            await life.news()
        await life.kernel.drained(self._account.name)

    async def check(self, kernel: BusKernel) -> None:
        for partition, log in (await read_log(kernel, self._ledger.topic, self._partitions)).items():
            self._ledger.check_log(partition, log)
        self._account.check()
        topic = await kernel.topic(self._ledger.topic)
        assert [partition.scheduled for partition in topic.status.partitions] == [0] * self._partitions
