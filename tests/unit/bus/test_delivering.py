"""In which order a consumer is told what."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.metrics import NoOpMeter
from sira.bus.v1.publish_service_pb2 import PublishRequest
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.subscription_pb2 import StartPosition, Subscription, SubscriptionMode
from sira.bus.v1.subscription_service_pb2 import (
    Credit,
    OpenSubscription,
    Settle,
    Settlement,
    SubscribeRequest,
    SubscribeResponse,
)
from sira.bus.v1.topic_pb2 import Topic

from sira_grpc.bus.bus import Bus
from sira_grpc.config import BusConfig
from sira_grpc.store import open_sqlite
from sira_grpc.store.api import Frame
from sira_grpc.store.sqlite import SqliteStore
from tests.clocks import FakeClock
from tests.unit.bus.control_world import DEFAULT, Neighbours

TOPIC = f"{DEFAULT}/topics/t"
SUBSCRIPTION = f"{DEFAULT}/subscriptions/s"


class SlowStore:
    """A store of which one frame, by its number in its log, is not read while its gate is shut."""

    def __init__(self, store: SqliteStore, number: int) -> None:
        self._store = store
        self._number = number
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()

    async def read(self, partition: str, offset: int, *, max_frames: int, max_bytes: int) -> Sequence[Frame]:
        if offset == self._number and not self.gate.is_set():
            self.arrived.set()
            await self.gate.wait()
        return await self._store.read(partition, offset, max_frames=max_frames, max_bytes=max_bytes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Consumer:
    """A stream of a subscription."""

    def __init__(self, bus: Bus) -> None:
        self._said: asyncio.Queue[SubscribeRequest] = asyncio.Queue()
        self._heard = bus.subscribing.serve(self._requests(), "tester")
        self.say(SubscribeRequest(open=OpenSubscription(subscription=SUBSCRIPTION)))

    def say(self, request: SubscribeRequest) -> None:
        self._said.put_nowait(request)

    def grant(self, records: int) -> None:
        self.say(SubscribeRequest(credit=Credit(records=records, bytes=1 << 20)))

    def nak(self, offset: int) -> None:
        settlement = Settlement(topic="t")
        settlement.ranges.add(first=offset, end=offset + 1)
        settlement.nak.delay.SetInParent()
        self.say(SubscribeRequest(settle=Settle(settlements=[settlement])))

    async def hear(self) -> str:
        """What is told next: `opened`, `settled` or the offset of a record and which delivery of it this is."""
        response = SubscribeResponse.FromString(await anext(self._heard))
        kind = response.WhichOneof("event") or ""
        return f"{response.delivery.base_offset}#{response.delivery.attempt}" if kind == "delivery" else kind

    async def close(self) -> None:
        await self._heard.aclose()

    async def _requests(self) -> AsyncIterator[SubscribeRequest]:
        while True:
            yield await self._said.get()


async def test_nothing_that_was_given_back_follows_the_answer(tmp_path: Path, clock: FakeClock) -> None:
    slow = SlowStore(await open_sqlite(tmp_path, clock=clock), 1)
    rng = random.Random(1)
    bus = Bus(
        slow,
        Neighbours(),
        BusConfig(cache_bytes=1),
        clock=clock,
        rng=rng,
        random_bytes=rng.randbytes,
        meter=NoOpMeter("test"),
    )
    await bus.start()
    await bus.topics.create(Topic(name=TOPIC))
    for key in (b"a", b"a", b"b"):
        await bus.publishing.publish(PublishRequest(topic=TOPIC, records=[Record(key=key)]), "tester")
    mode, earliest = SubscriptionMode.SUBSCRIPTION_MODE_ORDERED, StartPosition(earliest=StartPosition.Earliest())
    await bus.subscriptions.create(Subscription(name=SUBSCRIPTION, topics=["t"], mode=mode, start=earliest))
    consumer = Consumer(bus)
    consumer.grant(2)
    assert [await consumer.hear() for _ in range(3)] == ["opened", "0#1", "2#1"]
    await bus.publishing.publish(PublishRequest(topic=TOPIC, records=[Record(key=b"c")]), "tester")
    slow.gate.clear()
    consumer.grant(10)
    await slow.arrived.wait()  # record 1 is taken, and has to be read
    consumer.nak(0)
    hearing = asyncio.create_task(consumer.hear())
    for _ in range(100):
        await asyncio.sleep(0)
    slow.gate.set()
    told = [await hearing] + [await consumer.hear() for _ in range(4)]
    assert [each for each in told if each != "settled"] == ["1#1", "3#1", "0#2", "1#1"]
    assert told.index("settled") >= 2
    await consumer.close()
    await bus.close()
    await slow.close()
