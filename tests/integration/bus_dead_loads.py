"""What goes on while the kernel is killed: records that end as dead letters, and dead letters that come back."""

from __future__ import annotations

import random
import zlib
from collections.abc import Coroutine, Sequence
from typing import Any

from sira.bus.v1.dead_letter_pb2 import DeadLetter, DeadLetterReason

from tests.integration.bus_consumer import Act, Consumer, Delivered
from tests.integration.bus_kernel import BusKernel
from tests.integration.bus_ledger import UNKNOWN, Account, Findings, Ledger, Sent, name_in
from tests.integration.bus_life import Life
from tests.integration.bus_loads import milliseconds, retry
from tests.integration.bus_producer import FramesProducer
from tests.integration.bus_tail import read_log

MAX_DELIVERIES = 2
BACKLOG = 150
REDRIVEN_AT_ONCE = 40


def _fate(record: Sent) -> int:
    """What is to become of a record: 0 to 7, always the same."""
    return zlib.crc32(record.name.encode()) % 8


class DeadLetters:
    """A subscription that gives records up after two deliveries: each is acknowledged, or one dead letter, not both."""

    def __init__(self, rng: random.Random, findings: Findings, *, partitions: int = 2) -> None:
        self.kinds = {"dead": 30}
        self._partitions = partitions
        self._findings = findings
        self._ledger = ledger = Ledger("crash.dead", findings)
        self._account = Account("crash-dead", ledger)
        self._producer = FramesProducer("doomed", ledger, partitions, rng, room=self._room)
        self._consumers = [Consumer(self._account, rng, self._decide, settled=self._settled) for _ in range(2)]
        # By name: the life that saw it first, as an answer or in the list of dead letters.
        self._dead: dict[str, int] = {}
        self._at: dict[tuple[int, int], Sent] = {}

    def _room(self) -> bool:
        return self._account.backlog - len(self._dead) < BACKLOG

    def _decide(self, delivered: Delivered, life: Life) -> Act:
        record = delivered.record
        self._ledger.located(record, record.partition, delivered.offset)
        self._at[record.partition, delivered.offset] = record
        assert delivered.attempt <= MAX_DELIVERIES
        if self._dead.get(record.name, life.number) < life.number:
            self._findings.violation("delivered though dead", record.name)
        fate = _fate(record)
        if fate == 0:
            return Act.NAK
        if fate == 1:
            return Act.TERMINATE
        if fate == 2 and delivered.attempt == 1:
            return Act.NAK
        if fate == 3 and delivered.attempt == 1 and not life.draining:
            return Act.LAPSE
        return Act.ACK

    def _settled(self, delivered: Delivered, life: Life) -> None:
        last = delivered.act is Act.NAK and delivered.attempt == MAX_DELIVERIES
        if last or delivered.act is Act.TERMINATE:
            self._dead.setdefault(delivered.record.name, life.number)
            life.seen("dead")

    async def prepare(self, kernel: BusKernel) -> None:
        topic = self._ledger.topic
        await kernel.create_topic(topic, partitions=self._partitions)
        await kernel.create_subscription(
            self._account.name, topic, ack_timeout=milliseconds(300), retry=retry(MAX_DELIVERIES)
        )

    async def resume(self, life: Life) -> None:
        """What was a dead letter still is one, and nothing that was acknowledged is."""
        found = set[str]()
        for letter in await life.kernel.letters(self._account.name):
            record = self._at.get((letter.partition, letter.offset)) or await self._unseen(life.kernel, letter)
            if record.name in found:
                self._findings.violation("duplicated", f"two dead letters of {record.name}")
            if self._account.is_confirmed(record):
                self._findings.violation("dead though acknowledged", record.name)
            self._check_letter(letter, record)
            found.add(record.name)
            # Whatever is in the list before there are consumers must never be delivered again.
            self._dead[record.name] = min(life.number - 1, self._dead.get(record.name, life.number))
        for name in self._dead.keys() - found:
            self._findings.violation("lost", f"the dead letter of {name}")

    async def _unseen(self, kernel: BusKernel, letter: DeadLetter) -> Sent:
        """Returns the record of a dead letter that no consumer has looked at in time."""
        whole = await kernel.letter(letter.name)
        return self._ledger.records[name_in(whole.record.payload)]

    def _check_letter(self, letter: DeadLetter, record: Sent) -> None:
        assert letter.record.key == record.key
        assert letter.topic == self._ledger.topic
        assert 1 <= letter.deliveries <= MAX_DELIVERIES
        terminated = letter.reason == DeadLetterReason.DEAD_LETTER_REASON_TERMINATED
        assert not terminated or _fate(record) == 1
        assert (letter.detail == "never") == terminated
        self._ledger.located(record, letter.partition, letter.offset)

    def tasks(self, life: Life) -> Sequence[Coroutine[Any, Any, None]]:
        return [self._producer.run(life), *(each.run(life) for each in self._consumers)]

    async def drain(self, life: Life) -> None:
        while not self._producer.idle:
            await life.news()
        await life.kernel.drained(self._account.name)

    async def check(self, kernel: BusKernel) -> None:
        await self.resume(Life(0, kernel, None))
        for record in self._ledger.records.values():
            if not self._account.done(record) and record.name not in self._dead:
                self._findings.violation("lost", f"{record.name} is neither acknowledged nor a dead letter")
        self._findings.counts["dead letters"] = len(self._dead)


class Redrives:
    """Dead letters that are brought back all the time: each record is terminated once, and acknowledged when it comes
    back. A kernel that is killed in the middle of it may bring back the same once more."""

    def __init__(self, rng: random.Random, findings: Findings) -> None:
        self.kinds = {"redriven": 6}
        self._rng = rng
        self._findings = findings
        self._ledger = ledger = Ledger("crash.redriven", findings)
        self._account = Account("crash-redriven", ledger)
        self._producer = FramesProducer("returning", ledger, 1, rng, room=lambda: self._account.backlog < BACKLOG)
        self._consumers = [Consumer(self._account, rng, self._decide) for _ in range(2)]
        self._copies: dict[str, set[int]] = {}
        self._interrupted = 0

    def _decide(self, delivered: Delivered, life: Life) -> Act:
        record, offset = delivered.record, delivered.offset
        if record.offset == UNKNOWN:
            record.offset = offset
        if offset == record.offset:
            return Act.TERMINATE
        self._copies.setdefault(record.name, set()).add(offset)
        return Act.ACK

    async def prepare(self, kernel: BusKernel) -> None:
        await kernel.create_topic(self._ledger.topic)
        await kernel.create_subscription(self._account.name, self._ledger.topic, retry=retry(1000))

    async def resume(self, life: Life) -> None:
        """Nothing is known that could be looked at before it goes on."""

    def tasks(self, life: Life) -> Sequence[Coroutine[Any, Any, None]]:
        return [self._producer.run(life), self._redrive(life), *(each.run(life) for each in self._consumers)]

    async def _redrive(self, life: Life) -> None:
        while not life.killed:
            self._interrupted += 1
            answer = await life.kernel.redrive(self._account.name, self._rng.randint(1, REDRIVEN_AT_ONCE))
            self._interrupted -= 1
            assert (answer.guarded, answer.impossible) == (0, 0)
            self._findings.counts["redriven"] += answer.redriven
            if answer.redriven:
                life.seen("redriven")
            else:
                await life.news()

    async def drain(self, life: Life) -> None:
        while not self._producer.idle or self._account.backlog:
            await life.news()
        while await life.kernel.letters(self._account.name):
            pass  # they come back meanwhile
        await life.kernel.drained(self._account.name)

    async def check(self, kernel: BusKernel) -> None:
        for partition, log in (await read_log(kernel, self._ledger.topic, 1)).items():
            self._ledger.check_log(partition, log)
        for name in self._ledger.records:
            if not self._copies.get(name):
                self._findings.violation("lost", f"{name} was never redriven")
        again = sum(len(offsets) - 1 for offsets in self._copies.values())
        self._findings.counts["redriven twice"] = again
        assert again <= self._interrupted * REDRIVEN_AT_ONCE
