from __future__ import annotations

import random
from collections import defaultdict

import pytest

from sira_grpc.bus.delivery import RetryRule
from sira_grpc.bus.ordered_deliveries import OrderedDeliveries
from sira_grpc.bus.spans import Spans

RECORDS = 3_000
KEYS = 60


class Consumer:
    """Works through what it took, in order, knowing nothing of what was taken back."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.todo: list[int] = []


class Group:
    """Eight consumers that join and leave at random."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.keys = [f"k{self.rng.randrange(KEYS)}".encode() for _ in range(RECORDS)]
        rule = RetryRule(1_000, 0.1, 0.5)
        self.machine = OrderedDeliveries(rule, rng=self.rng, settled=Spans(), max_outstanding=200)
        self.now = 1_000.0
        self.consumers = [Consumer(number) for number in range(8)]
        self.joined = len(self.consumers)
        self.settled: dict[int, None] = {}  # in the order of it
        self.delivered: dict[int, None] = {}  # in the order of the last delivery of each

    def turn(self) -> None:
        """One consumer does something."""
        machine = self.machine
        self.now += 0.05
        machine.expire(self.now)
        end = min(RECORDS, machine.next + machine.room())
        machine.offer(machine.next, end, self.keys[machine.next : end])
        place = self.rng.randrange(len(self.consumers))
        consumer = self.consumers[place]
        if self.rng.random() < 0.02:
            machine.leave(consumer.number, self.now, counted=self.rng.random() < 0.5)
            self.consumers[place] = Consumer(self.joined)
            self.joined += 1
        elif consumer.todo and self.rng.random() < 0.8:
            self.work(consumer)
        else:
            self.take(consumer)

    def take(self, consumer: Consumer) -> None:
        for first, end, _ in self.machine.take(consumer.number, self.rng.randrange(1, 100), self.now, 5.0):
            for offset in range(first, end):
                self.delivered.pop(offset, None)
                self.delivered[offset] = None
                consumer.todo.append(offset)

    def work(self, consumer: Consumer) -> None:
        for _ in range(min(len(consumer.todo), self.rng.randrange(1, 40))):
            offset = consumer.todo.pop(0)
            if self.rng.random() < 0.03:
                self.machine.nak(consumer.number, offset, offset + 1, now=self.now)
                continue
            for first, end in self.machine.ack(consumer.number, offset, offset + 1).settled:
                self.settled |= dict.fromkeys(range(first, end))

    def by_key(self, offsets: dict[int, None]) -> list[list[int]]:
        lists: dict[bytes, list[int]] = defaultdict(list)
        for offset in offsets:
            lists[self.keys[offset]].append(offset)
        return list(lists.values())


@pytest.mark.parametrize("seed", range(5))
def test_no_key_is_reordered_however_consumers_come_and_go(seed: int) -> None:
    group = Group(seed)
    while group.machine.settled.floor < RECORDS:
        group.turn()
    assert len(group.settled) == len(group.delivered) == RECORDS
    for offsets in (*group.by_key(group.settled), *group.by_key(group.delivered)):
        assert offsets == sorted(offsets)
