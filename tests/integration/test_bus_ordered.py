"""Ordered mode with a thousand keys and consumers that come and go: nothing comes before what it follows.

SIRA_ORDERED_RECORDS says how many records, for a long run.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.integration.bus_consumer import Act, Consumer, Delivered, mostly_ack
from tests.integration.bus_kernel import running
from tests.integration.bus_ledger import Account, Findings, Ledger
from tests.integration.bus_life import Fuse, Life
from tests.integration.bus_loads import ORDERED, milliseconds, retry
from tests.integration.bus_producer import FramesProducer

RECORDS = int(os.environ.get("SIRA_ORDERED_RECORDS", "15000"))
KEYS = 1000
CONSUMERS = 8
PARTITIONS = 4
BACKLOG = 2000
STAY = 200
"""Messages that a consumer takes at most before it leaves."""
CREDIT = 50
POISON_MS = 500
"""When the poisoned record comes again: not so often that it becomes a dead letter."""
TOPIC = "ordered.keys"
SUBSCRIPTION = "ordered-keys"
NEVER = Fuse("never", 0, 0)
SECONDS_A_RECORD = 0.01
"""Hundred records a second is when a test gives up."""


class Ordered:
    """Two producers of a thousand keys, and eight consumers."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.findings = Findings()
        self.ledger = ledger = Ledger(TOPIC, self.findings)
        self.account = account = Account(SUBSCRIPTION, ledger, ordered=True)
        self.poisoned = b""
        """A key that no consumer can process."""
        self._mostly_ack = mostly_ack(rng)
        self._producers = [
            FramesProducer(name, ledger, PARTITIONS, rng, keys=KEYS // 2, room=self._room) for name in ("a", "b")
        ]
        self._consumers = [Consumer(account, rng, self._decide, stay=STAY, credit=CREDIT) for _ in range(CONSUMERS)]

    @property
    def published(self) -> bool:
        """Whether all that is to be published is."""
        return len(self.ledger.records) >= RECORDS and all(producer.idle for producer in self._producers)

    @property
    def poisoned_records(self) -> int:
        """How many records have the poisoned key."""
        last = self.ledger.last(self.poisoned)
        return last.place + 1 if last is not None else 0

    def tasks(self, life: Life) -> list[Coroutine[Any, Any, None]]:
        """Goes on until it is cancelled."""
        return [*(each.run(life) for each in self._producers), *(each.run(life) for each in self._consumers)]

    def _room(self) -> bool:
        return len(self.ledger.records) < RECORDS and self.account.backlog < BACKLOG

    def _decide(self, delivered: Delivered, life: Life) -> Act:
        if delivered.record.key == self.poisoned:
            delivered.delay_ms = POISON_MS
            return Act.NAK
        return self._mostly_ack(delivered, life)


@pytest.mark.parametrize("seed", [20_26])
async def test_consumers_that_come_and_go_reorder_nothing_and_a_poisoned_key_holds_up_no_other(
    tmp_path: Path, seed: int
) -> None:
    ordered = Ordered(seed)
    ordered.poisoned = b"a-7"
    async with asyncio.timeout(30 + RECORDS * SECONDS_A_RECORD), running(tmp_path) as kernel:
        await kernel.create_topic(TOPIC, partitions=PARTITIONS)
        await kernel.create_subscription(
            SUBSCRIPTION, TOPIC, mode=ORDERED, ack_timeout=milliseconds(1000), retry=retry(1000)
        )
        life = Life(0, kernel, NEVER)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(task) for task in ordered.tasks(life)]
            while not ordered.published or ordered.account.backlog > ordered.poisoned_records:
                await life.news()
            assert ordered.account.backlog == ordered.poisoned_records > 0
            ordered.poisoned = b""
            await kernel.drained(SUBSCRIPTION)
            for task in tasks:
                task.cancel()
    ordered.account.check()
    print(f"seed {seed}: {dict(ordered.findings.counts)}")
    ordered.findings.check()
