"""A program that uses the bus through the client, and does not notice that kernels come and go."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextlib import suppress

from sira_client import Client
from sira_client.bus import Ack, Record

TOPIC = "crash.client"
SUBSCRIPTION = "crash-client"
KEYS = 20
CONSUMERS = 2
AT_ONCE = 200
"""Records that wait for their acks."""
REFUSED = 50
"""Every so many records, one fails when it is processed for the first time."""


class Refused(Exception):
    """What goes wrong with a record."""


class ClientLoad:
    """Numbered records that one producer sends, and that consumers of a subscription and a tail get.

    Args:
        client: connected.
        records: how many are sent.
    """

    def __init__(self, client: Client, records: int) -> None:
        self._bus = client.bus()
        self._records = records
        self.acks: list[Ack] = []
        self.processed: Counter[int] = Counter()
        self.tailed: list[tuple[int, int, int]] = []
        self.reordered: list[int] = []
        self._last: defaultdict[int, int] = defaultdict(lambda: -1)
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Goes on until every record was sent and processed, and has come on the tail."""
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(self._consume()) for _ in range(CONSUMERS)]
            readers.append(group.create_task(self._tail()))
            await self._produce()
            while len(self.processed) < self._records or len(self.tailed) < self._records:
                await self.news()
            for reader in readers:
                reader.cancel()

    async def news(self) -> None:
        """Returns when something more has happened."""
        self._news.clear()
        await self._news.wait()

    async def _produce(self) -> None:
        async with self._bus.producer(TOPIC, max_batch_records=20) as producer:
            for first in range(0, self._records, AT_ONCE):
                numbers = range(first, min(first + AT_ONCE, self._records))
                posted = [await producer.post(b"%d" % number, key=_key(number)) for number in numbers]
                self.acks += await asyncio.gather(*posted)

    async def _consume(self) -> None:
        async with self._bus.subscribe(SUBSCRIPTION, prefetch_records=100) as records:
            async for record in records:
                with suppress(Refused):
                    async with record:
                        self._process(record)
                self._news.set()

    def _process(self, record: Record) -> None:
        number = int(record.payload)
        if number % REFUSED == 0 and record.attempt == 1 and not self.processed[number]:
            raise Refused
        # The record of its key before it was processed, by whoever it was.
        if number >= KEYS and not self.processed[number - KEYS]:
            self.reordered.append(number)
        self.processed[number] += 1

    async def _tail(self) -> None:
        async with self._bus.tail(TOPIC, start="earliest") as records:
            async for record in records:
                self.tailed.append((record.partition, record.offset, int(record.payload)))
                self._news.set()


def _key(number: int) -> bytes:
    return b"key-%d" % (number % KEYS)
