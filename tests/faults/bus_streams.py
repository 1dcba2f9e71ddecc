"""Producers and consumers over raw streams of any member, and a ledger of every record."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, cast

import grpc
from grpc import aio

from tests.faults.clients import OPTIONS, Clients
from tests.faults.load import AGAIN_SECONDS, SETTLE_SECONDS, until_done
from tests.faults.meter import Meter
from tests.faults.traced_account import TracedAccount
from tests.integration.bus_consumer import Consumer, mostly_ack
from tests.integration.bus_kernel import BusKernel
from tests.integration.bus_ledger import Ledger
from tests.integration.bus_life import Fuse, Life
from tests.integration.bus_loads import ORDERED, milliseconds, retry
from tests.integration.bus_producer import FramesProducer
from tests.integration.bus_tail import read_log
from tests.integration.sira_process import SiraProcess

TOPIC = "faults.streams"
PARTITIONS = 3
CONSUMERS = 2
BACKLOG = 600
"""Records that wait to be consumed, beyond which nothing more is published."""
NEVER = Fuse("never", 0, 0.0)


@dataclass(frozen=True)
class Doors(BusKernel):
    """All members, as if they were one kernel: each connection is to any of them."""

    addresses: tuple[str, ...]
    rng: random.Random

    def connect(self) -> aio.Channel:
        """A connection of its own."""
        return aio.insecure_channel(self.rng.choice(self.addresses), options=OPTIONS)


class BusStreams:
    """Producers that are known by a sequence or by the ids of their records, and consumers of both modes.

    Args:
        addresses: of the members.
        clients: of the members.
        rng: chooses.
        meter: counts.
    """

    def __init__(self, addresses: Sequence[str], clients: Clients, rng: random.Random, meter: Meter) -> None:
        self._clients = clients
        self._rng = rng
        self._meter = meter
        # They have no process of their own, and nothing here asks for one.
        process = cast(SiraProcess, None)
        self._doors = Doors(process, addresses[0], clients.channels[0], 0.0, tuple(addresses), rng)
        self._life = Life(0, self._doors, NEVER)
        self._ledger = ledger = Ledger(TOPIC, meter.findings)
        self._accounts = [
            TracedAccount("faults-queue", ledger, meter.monotonic),
            TracedAccount("faults-ordered", ledger, meter.monotonic, ordered=True),
        ]
        self._producers = [
            FramesProducer(name, ledger, PARTITIONS, rng, by_ids=name == "ids", room=self._room, window=8)
            for name in ("sequences", "ids")
        ]
        self._consumers = [
            Consumer(account, rng, mostly_ack(rng), stay=60) for account in self._accounts for _ in range(CONSUMERS)
        ]

    def _room(self) -> bool:
        return all(account.backlog < BACKLOG for account in self._accounts)

    async def prepare(self) -> None:
        """See Load."""
        await self._doors.create_topic(TOPIC, partitions=PARTITIONS)
        for account in self._accounts:
            mode = {"mode": ORDERED} if account.ordered else {}
            await self._doors.create_subscription(
                account.name, TOPIC, ack_timeout=milliseconds(1500), retry=retry(1000), **mode
            )

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """See Load."""
        return [
            *(self._go_on("publish frames", producer.run) for producer in self._producers),
            *(self._go_on("consume", consumer.run) for consumer in self._consumers),
            self._count_successes(),
        ]

    async def finish(self) -> None:
        """See Load."""
        self._life = Life(0, self._doors, None)
        going_on = [asyncio.create_task(task) for task in self.tasks()]
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                while not all(producer.idle for producer in self._producers) or self._left():
                    await self._life.news()
                await until_done(self._drained)
        except TimeoutError:
            idle = [producer.idle for producer in self._producers]
            told = f"producers idle: {idle}, left to consume: {[account.backlog for account in self._accounts]}"
            self._meter.findings.violation("stuck", told)
        finally:
            for task in going_on:
                task.cancel()
            await asyncio.wait(going_on)
        await self._check()

    async def close(self) -> None:
        """See Load."""

    def _left(self) -> bool:
        return any(account.backlog for account in self._accounts)

    async def _drained(self) -> None:
        await self._doors.drained(*(account.name for account in self._accounts))

    async def _check(self) -> None:
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                log = await until_done(lambda: read_log(self._doors, TOPIC, PARTITIONS))
                damages = await until_done(lambda: self._doors.damages(TOPIC))
        except TimeoutError:
            self._meter.findings.violation("stuck", "the partitions cannot be read to their ends")
            return
        for partition, logged in log.items():
            self._ledger.check_log(partition, logged)
        for account in self._accounts:
            account.check()
        for damage in damages:
            self._meter.findings.violation("damaged", damage)

    async def _go_on(self, kind: str, run: Callable[[Life], Awaitable[None]]) -> None:
        """Does what ends with its connection, again and again."""
        while True:
            try:
                await run(self._life)
            except grpc.aio.AioRpcError as error:
                self._meter.failed(kind, error)
            except asyncio.InvalidStateError:
                self._meter.errors[kind, "ENDED", ""] += 1  # a call that has ended was written to
            except AssertionError as error:
                self._meter.findings.violation("wrong answer", f"{kind}: {error!r}")
            await asyncio.sleep(self._rng.uniform(0, 2 * AGAIN_SECONDS))

    async def _count_successes(self) -> None:
        """Tells the meter of what is seen."""
        counted = self._life.counts.copy()
        while True:
            await self._life.news()
            for kind, name in (("published", "publish frames"), ("settled", "settle records")):
                if self._life.counts[kind] > counted[kind]:
                    counted[kind] = self._life.counts[kind]
                    self._meter.succeeded(name)
