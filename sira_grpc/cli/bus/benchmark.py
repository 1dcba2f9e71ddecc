"""A load of records that goes through a kernel, and what is measured of it."""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from sira_grpc.cli.failures import Failure

if TYPE_CHECKING:
    from sira_client.bus import Ack, Batch, Bus, Compression, Consumer, Durability

IN_FLIGHT = 16
"""Frames of a producer that wait for their acks: enough to keep the kernel busy, few enough not to queue."""
MAX_FRAME_BYTES = 2 << 20
_STAMP = struct.Struct("<d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What goes through the kernel. The fields are the options of `sira bus bench`."""

    topic: str
    subscription: str
    records: int
    size: int
    batch: int
    producers: int
    consumers: int
    partitions: int
    durability: Durability
    compression: Compression

    def shares(self) -> Sequence[int]:
        """How many records each producer sends."""
        least, more = divmod(self.records, self.producers)
        return [least + (number < more) for number in range(self.producers)]


@dataclass(slots=True)
class Result:
    """What was measured.

    Attributes:
        durability: what the kernel said that records and acks survive.
        publish_rate: records a second, from the first publish to the last ack of it.
        rate: records a second, from the first publish until the last is acknowledged by its consumer.
        acks: seconds from when a frame was ready to when it was acknowledged, for each.
        deliveries: seconds from when a frame was ready to when it was delivered, for each delivery.
    """

    durability: Literal["disk", "memory"] = "disk"
    publish_rate: float = 0.0
    rate: float = 0.0
    acks: list[float] = field(default_factory=list)
    deliveries: list[float] = field(default_factory=list)


def percentile(values: Sequence[float], part: float) -> float:
    """The value that this part of them is not above, by the nearest rank; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


class Benchmark:
    """One run.

    Args:
        bus: of a client.
        load: what to do.
    """

    def __init__(self, bus: Bus, load: Load) -> None:
        self._bus = bus
        self._load = load
        self._result = Result()
        self._durability: set[Durability] = set()
        self._delivered = 0
        self._all_delivered = asyncio.Event()

    async def run(self) -> Result:
        """Makes the topic and its subscription, does it all, and deletes them.

        Raises:
            SiraError: the kernel refused.
            Failure: some of it was not acknowledged in the end.
        """
        bus, load = self._bus, self._load
        await bus.topics.create(load.topic, partitions=load.partitions, durability=load.durability)
        try:
            await bus.subscriptions.create(load.subscription, [load.topic], start="earliest")
            try:
                await self._measure()
                lag = (await bus.subscriptions.lag(load.subscription)).lag
            finally:
                await bus.subscriptions.delete(load.subscription, force=True)
        finally:
            await bus.topics.delete(load.topic, force=True)
        if lag:
            raise Failure(f"{lag:,} of {load.records:,} records were not acknowledged")
        return self._result

    async def _measure(self) -> None:
        load, result = self._load, self._result
        consumers = [self._bus.subscribe_batches(load.subscription) for _ in range(load.consumers)]
        consuming = [asyncio.create_task(self._consume(consumer)) for consumer in consumers]
        start = time.perf_counter()
        producing = [asyncio.create_task(self._produce(share)) for share in load.shares()]
        waiting = asyncio.create_task(self._all_delivered.wait())
        try:
            await asyncio.gather(*producing)
            result.publish_rate = load.records / (time.perf_counter() - start)
            # A consumer that fails is told of; one that ends by itself would leave us waiting.
            await asyncio.wait({waiting, *consuming}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(*(consumer.close() for consumer in consumers))
            await asyncio.gather(*consuming)
            result.rate = load.records / (time.perf_counter() - start)
        finally:
            for task in (waiting, *producing, *consuming):
                task.cancel()
            await asyncio.gather(waiting, *producing, *consuming, return_exceptions=True)
        result.durability = "memory" if "memory" in self._durability else "disk"

    async def _produce(self, records: int) -> None:
        load, filling = self._load, bytes(self._load.size - _STAMP.size)
        under_way: deque[tuple[float, Sequence[asyncio.Future[Ack]]]] = deque()
        producer = self._bus.producer(
            load.topic,
            max_batch_records=load.batch,
            max_batch_bytes=MAX_FRAME_BYTES,
            compression=load.compression,
        )
        async with producer:
            while records or under_way:
                if records and len(under_way) < IN_FLIGHT:
                    count = min(records, load.batch)
                    began = time.perf_counter()
                    payloads = [_STAMP.pack(began) + filling] * count
                    under_way.append((began, await producer.post_many(payloads)))
                    records -= count
                else:
                    began, promises = under_way.popleft()
                    acks = await asyncio.gather(*promises)
                    self._result.acks.append(time.perf_counter() - began)
                    self._durability.update(ack.durability for ack in acks)

    async def _consume(self, consumer: Consumer[Batch]) -> None:
        async for batch in consumer:
            async with batch:
                began: float = _STAMP.unpack_from(batch[0].payload)[0]
                self._result.deliveries.append(time.perf_counter() - began)
            self._delivered += len(batch)
            if self._delivered >= self._load.records:
                self._all_delivered.set()
