"""A program that publishes, consumes and writes through the client library, and how long each stood still."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from sira.registry.v1.registry_service_pb2 import CreateServiceRequest, UpdateServiceRequest
from sira.registry.v1.service_pb2 import Service
from sira_client import Client, SiraError
from sira_client.bus import Ack

from bench.bus import messages

TOPIC = "traffic"
SUBSCRIPTION = "traffic"
SERVICE = f"{messages.NAMESPACE}/services/traffic"
AT_ONCE = 20
PAUSE_SECONDS = 0.01
PATIENCE_SECONDS = 60


class Traffic:
    """What goes on. Made by `traffic`.

    Attributes:
        exceptions: that the client raised.
        acks: of the records that were published, by number.
        consumed: the numbers of those that came, with where they are.
    """

    def __init__(self, client: Client) -> None:
        self.exceptions: list[BaseException] = []
        self.acks: dict[int, Ack] = {}
        self.consumed: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
        self._client = client
        self._last: dict[str, float] = {}
        self._longest: dict[str, float] = {}
        self._stopping = False
        self._news = asyncio.Event()

    @property
    def lost(self) -> int:
        """How many records were acknowledged and have not come."""
        return sum(number not in self.consumed for number in self.acks)

    @property
    def duplicated(self) -> int:
        """How many records are in more than one place."""
        return sum(len(places) > 1 for places in self.consumed.values())

    def forget(self) -> None:
        """Measures from now on."""
        now = time.perf_counter()
        self._longest = dict.fromkeys(self._last, 0.0)
        self._last = dict.fromkeys(self._last, now)

    def stood_still(self, what: str) -> float:
        """The longest time without a success, seconds."""
        return self._longest[what]

    async def once_more(self) -> None:
        """Returns when everything has gone well a few times more."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            begun = time.perf_counter()
            while len(self._last) < len(_KINDS) or min(self._last.values()) < begun + 0.5:
                self._news.clear()
                await self._news.wait()

    async def prepare(self) -> None:
        bus = self._client.bus()
        await bus.topics.create(TOPIC)
        await bus.subscriptions.create(SUBSCRIPTION, TOPIC, start="earliest")
        await self._client.registry.CreateService(CreateServiceRequest(service=Service(name=SERVICE)))

    async def go_on(self) -> None:
        """Goes on until it is stopped, and everything that was acknowledged has come."""
        consuming = asyncio.create_task(self._noticing(self._consume()))
        await asyncio.gather(self._noticing(self._publish()), self._noticing(self._write()))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while self.lost and not consuming.done():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass  # `lost` says how many
        finally:
            consuming.cancel()
            await asyncio.wait([consuming])

    def stop(self) -> None:
        """Has it end."""
        self._stopping = True

    def _succeeded(self, what: str) -> None:
        now = time.perf_counter()
        self._longest[what] = max(self._longest.get(what, 0.0), now - self._last.get(what, now))
        self._last[what] = now
        self._news.set()

    async def _noticing(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - that there is any is what is measured
            self.exceptions.append(error)

    async def _publish(self) -> None:
        async with self._client.bus().producer(TOPIC) as producer:
            first = 0
            while not self._stopping:
                numbers = range(first, first + AT_ONCE)
                first = numbers.stop
                posted = [await producer.post(b"%d" % number) for number in numbers]
                self.acks.update(zip(numbers, await asyncio.gather(*posted), strict=True))
                self._succeeded("publishing")
                await asyncio.sleep(PAUSE_SECONDS)

    async def _consume(self) -> None:
        async with self._client.bus().subscribe(SUBSCRIPTION) as records:
            async for record in records:
                async with record:
                    self.consumed[int(record.payload)].add((record.partition, record.offset))
                self._succeeded("consuming")

    async def _write(self) -> None:
        count = 0
        while not self._stopping:
            count += 1
            request = UpdateServiceRequest(service=Service(name=SERVICE, description=str(count)))
            request.update_mask.paths.append("description")
            try:
                await self._client.registry.UpdateService(request)
            except SiraError as error:
                self.exceptions.append(error)
            else:
                self._succeeded("writing")
            await asyncio.sleep(PAUSE_SECONDS)


_KINDS = ("publishing", "consuming", "writing")


@asynccontextmanager
async def traffic(client: Client) -> AsyncIterator[Traffic]:
    """Has it go on for the length of the block; after it, everything that was acknowledged has come, or is lost."""
    going = Traffic(client)
    await going.prepare()
    task = asyncio.create_task(going.go_on())
    try:
        yield going
        going.stop()
        await task
    finally:
        task.cancel()
        await asyncio.wait([task])
