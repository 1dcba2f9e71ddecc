"""A program that uses the bus through the client library, and must not notice that anything is broken."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.registry_service_pb2 import CreateNamespaceRequest
from sira_client import Client, Settings, connect_insecure
from sira_client.bus import Ack

from tests.faults.load import SETTLE_SECONDS
from tests.faults.meter import Meter

NAMESPACE = "program"
TOPIC = "faults.program"
SUBSCRIPTION = "faults-program"
PARTITIONS = 2
KEYS = 12
AT_ONCE = 60
"""Records that wait for their acks."""
PAUSE_SECONDS = 0.05


class BusProgram:
    """One producer, and a consumer of an ordered subscription.

    Args:
        addresses: of the members.
        rng: chooses.
        meter: counts.
    """

    def __init__(self, addresses: Sequence[str], rng: random.Random, meter: Meter) -> None:
        self._addresses = addresses
        self._rng = rng
        self._meter = meter
        self._stack = AsyncExitStack()
        self._client: Client | None = None
        self._sent = 0
        self._acks: dict[int, Ack] = {}
        self._processed: Counter[int] = Counter()
        self._places: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
        self._news = asyncio.Event()
        self._stopping = False
        self._running: list[asyncio.Task[None]] = []

    async def prepare(self) -> None:
        """See Load."""
        settings = Settings(random=random.Random(self._rng.random()))
        client = self._client = await self._stack.enter_async_context(
            connect_insecure(self._addresses, settings=settings)
        )
        await client.registry.CreateNamespace(
            CreateNamespaceRequest(namespace=Namespace(name=f"namespaces/{NAMESPACE}"))
        )
        bus = client.bus(namespace=NAMESPACE)
        await bus.topics.create(TOPIC, partitions=PARTITIONS)
        await bus.subscriptions.create(SUBSCRIPTION, TOPIC, mode="ordered", start="earliest")
        self._running = [asyncio.create_task(self._noticing(each)) for each in (self._produce(bus), self._consume(bus))]

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """See Load. What runs has begun already, and goes on to the end."""
        return []

    async def finish(self) -> None:
        """See Load."""
        self._stopping = True
        producing, consuming = self._running
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await producing
                while len(self._processed) < self._sent and not consuming.done():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            told = f"{self._sent} were sent, {len(self._acks)} acknowledged, {len(self._processed)} processed"
            self._meter.findings.violation("stuck", told)
        findings = self._meter.findings
        findings.counts["records of the program"] = self._sent
        for number, ack in self._acks.items():
            if not self._processed[number]:
                findings.violation("lost", f"{number} of the program")
            if self._places[number] - {(ack.partition, ack.offset)}:
                findings.violation("duplicated", f"{number} of the program is at {self._places[number]}, and at {ack}")

    async def close(self) -> None:
        """See Load."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._stack.aclose()

    async def _noticing(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - that there is any at all is what must not be
            self._meter.findings.violation("an exception reached the program", repr(error))

    async def _produce(self, bus: Any) -> None:
        async with bus.producer(TOPIC, max_batch_records=20, timeout=SETTLE_SECONDS) as producer:
            while not self._stopping:
                numbers = range(self._sent, self._sent + self._rng.randint(1, AT_ONCE))
                self._sent = numbers.stop
                posted = [await producer.post(b"%d" % number, key=b"key-%d" % (number % KEYS)) for number in numbers]
                self._acks.update(zip(numbers, await asyncio.gather(*posted), strict=True))
                self._meter.succeeded("publish with the client")
                await asyncio.sleep(self._rng.uniform(0, PAUSE_SECONDS))

    async def _consume(self, bus: Any) -> None:
        async with bus.subscribe(SUBSCRIPTION, prefetch_records=200) as records:
            async for record in records:
                async with record:
                    self._process(int(record.payload), (record.partition, record.offset))
                self._news.set()

    def _process(self, number: int, place: tuple[int, int]) -> None:
        self._meter.succeeded("consume with the client")
        if number >= KEYS and not self._processed[number - KEYS]:
            self._meter.findings.violation("reordered", f"{number} of the program comes before {number - KEYS}")
        self._processed[number] += 1
        self._places[number].add(place)
