"""Deliveries as they should be: one entry for each offset, looked through from end to end for every question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from sira_grpc.bus.delivery import MAX_DELIVERIES, TERMINATED, Dead, Outcome, Retry, RetryRule, Taken

WAITING, LEASED, ACKED, DYING, SETTLED = "waiting", "leased", "acked", "dying", "settled"
LONG_AGO = -1.0
Ranges = list[tuple[int, int]]


@dataclass
class ModelRecord:
    """A record as it should be. An ACKED one is not settled: one before it of its key is not."""

    key: bytes
    state: str = WAITING
    deliveries: int = 0  # those that have failed; of a dying one, the last included
    due: float = LONG_AGO
    consumer: int = 0
    deadline: float = 0.0
    logged: tuple[int, float] = (0, LONG_AGO)  # deliveries and due as they are durable


@dataclass
class Model:
    """In queue mode, and without a key, each record is the only one of its key."""

    rule: RetryRule
    max_outstanding: int
    records: dict[int, ModelRecord] = field(default_factory=dict)

    # What is there.

    def those(self, state: str) -> list[int]:
        return sorted(offset for offset, record in self.records.items() if record.state == state)

    def of_key(self, offset: int) -> list[int]:
        """The offsets of a record's key, in order."""
        key = self.records[offset].key
        return sorted(o for o, record in self.records.items() if record.key == key) if key else [offset]

    def before(self, offset: int) -> list[ModelRecord]:
        return [self.records[o] for o in self.of_key(offset) if o < offset]

    def after(self, offset: int) -> list[ModelRecord]:
        return [self.records[o] for o in self.of_key(offset) if o > offset]

    def held(self, consumer: int, first: int, end: int) -> list[int]:
        return [o for o in self.those(LEASED) if first <= o < end and self.records[o].consumer == consumer]

    def may_take(self, consumer: int, offset: int, now: float, taken: Iterable[int] = ()) -> bool:
        """Whether a record may go to a consumer, once it has those that it takes with it."""
        record = self.records[offset]
        theirs = [self.records[o] for o in taken]
        return (
            record.state == WAITING
            and record.due <= now
            and all(
                earlier.state == SETTLED
                or (earlier.state in {LEASED, ACKED} and earlier.consumer == consumer)
                or any(earlier is their for their in theirs)
                for earlier in self.before(offset)
            )
        )

    def available(self, consumer: int, now: float) -> list[int]:
        offsets: list[int] = []
        for offset in self.those(WAITING):
            if self.may_take(consumer, offset, now, offsets):
                offsets.append(offset)
        return offsets

    def free(self) -> int:
        return max(0, self.max_outstanding - len(self.those(LEASED)))

    def due(self, now: float) -> float | None:
        deadlines = [self.records[o].deadline for o in self.those(LEASED)]
        dues = [self.records[o].due for o in self.those(WAITING) if self.records[o].due > now]
        return min([*deadlines, *dues], default=None)

    def retries(self, now: float) -> dict[int, tuple[int, float]]:
        """What a snapshot says: deliveries and due of each record that has failed."""
        known = {}
        for offset, record in self.records.items():
            deliveries = record.deliveries - (record.state == DYING)
            if record.state != SETTLED and deliveries:
                known[offset] = deliveries, max(now, record.due) if record.state == WAITING else now
        return known

    # What is done.

    def take(self, consumer: int, records: int, taken: list[Taken], now: float, deadline: float) -> None:
        """Takes over what was taken, if it may be."""
        available = self.available(consumer, now)
        offsets = {o: attempt for first, end, attempt in taken for o in range(first, end)}
        assert len(offsets) == sum(end - first for first, end, _ in taken) == min(records, len(available), self.free())
        for offset in sorted(offsets):
            record = self.records[offset]
            assert self.may_take(consumer, offset, now), "out of order, twice, or too early"
            assert offsets[offset] == record.deliveries + 1 <= self.rule.max_deliveries
            record.state, record.consumer, record.deadline = LEASED, consumer, deadline

    def give_back(self, offset: int) -> None:
        for record in (self.records[offset], *self.after(offset)):
            if record is self.records[offset] or record.state in {LEASED, ACKED}:
                record.state, record.due = WAITING, LONG_AGO

    def ack(self, consumer: int, first: int, end: int, outcome: Outcome) -> None:
        self.check_stale(consumer, first, end, outcome)
        acked = self.held(consumer, first, end)
        for offset in acked:
            self.records[offset].state = ACKED
        settled = self.settle()
        assert outcome.held == [offset for offset in acked if offset not in settled]
        self.check(outcome, settled=settled)

    def settle(self) -> set[int]:
        """Settles what is acknowledged and has nothing before it that is not settled."""
        settled = set()
        for offset in self.those(ACKED):
            if all(earlier.state == SETTLED for earlier in self.before(offset)):
                self.records[offset].state = SETTLED
                settled.add(offset)
        return settled

    def nak(
        self, consumer: int, first: int, end: int, outcome: Outcome, dues: Callable[[int], tuple[float, float]]
    ) -> None:
        self.check_stale(consumer, first, end, outcome)
        self.fail(list(reversed(self.held(consumer, first, end))), outcome, dues)

    def expire(self, now: float, outcome: Outcome) -> None:
        over = [o for o in self.those(LEASED) if self.records[o].deadline <= now]
        self.fail(over, outcome, self.backoff(now))
        assert not outcome.stale

    def leave(self, consumer: int, now: float, outcome: Outcome, *, counted: bool) -> None:
        held = [o for o in self.those(LEASED) if self.records[o].consumer == consumer]
        if counted:
            self.fail(held, outcome, lambda _: (now, now))
        else:
            self.untake(consumer, held)
            assert outcome == Outcome()

    def untake(self, consumer: int, offsets: Iterable[int]) -> None:
        for offset in offsets:
            if self.records[offset].state == LEASED and self.records[offset].consumer == consumer:
                self.give_back(offset)

    def fail(self, offsets: list[int], outcome: Outcome, dues: Callable[[int], tuple[float, float]]) -> None:
        """Has deliveries fail in this order, except those that were taken back with one before."""
        told = {o: retry for retry in outcome.retries for o in range(retry.first, retry.end)}
        retries, dead = {}, {}
        for offset in offsets:
            record = self.records[offset]
            if record.state != LEASED:
                continue
            record.deliveries += 1
            if record.deliveries >= self.rule.max_deliveries:
                record.state = DYING
                dead[offset] = record.deliveries, MAX_DELIVERIES, record.consumer
                for after in self.after(offset):
                    if after.state in {LEASED, ACKED}:
                        after.state, after.due = WAITING, LONG_AGO
            else:
                self.give_back(offset)
                earliest, latest = dues(record.deliveries)
                assert earliest <= told[offset].due <= latest
                record.due = told[offset].due
                record.logged = record.deliveries, record.due
                retries[offset] = record.deliveries
        self.check(outcome, retries=retries, dead=dead)

    def backoff(self, now: float) -> Callable[[int], tuple[float, float]]:
        def dues(attempt: int) -> tuple[float, float]:
            delay = self.rule.min_backoff
            for _ in range(attempt - 1):
                delay *= 2
            delay = min(delay, self.rule.max_backoff)
            return now + delay * 0.8, now + min(delay * 1.2, self.rule.max_backoff)

        return dues

    def extend(self, consumer: int, first: int, end: int, deadline: float, outcome: Outcome) -> None:
        self.check_stale(consumer, first, end, outcome)
        for offset in self.held(consumer, first, end):
            self.records[offset].deadline = deadline
        self.check(outcome)

    def terminate(self, consumer: int, first: int, end: int, outcome: Outcome) -> None:
        self.check_stale(consumer, first, end, outcome)
        dead = {}
        for offset in self.held(consumer, first, end):
            record = self.records[offset]
            record.state, record.deliveries = DYING, record.deliveries + 1
            dead[offset] = record.deliveries, TERMINATED, consumer
        self.check(outcome, dead=dead)

    def bury(self, first: int, end: int, outcome: Outcome) -> set[int]:
        """Returns what was buried."""
        buried = {o for o in self.those(DYING) if first <= o < end}
        for offset in buried:
            self.records[offset].state = SETTLED
        self.check(outcome, settled=self.settle())
        return buried

    def revive(self, first: int, end: int, now: float) -> None:
        for offset in self.those(DYING):
            if first <= offset < end:
                self.give_back(offset)
                self.records[offset].deliveries -= 1
                self.records[offset].due = now + 1.0

    def skip(self, first: int, end: int, outcome: Outcome) -> None:
        settled = set()
        for offset in range(first, end):
            record = self.records.setdefault(offset, ModelRecord(b""))
            if record.state not in {LEASED, SETTLED}:
                record.state = SETTLED
                settled.add(offset)
        self.check(outcome, settled=settled | self.settle())

    def restart(self, now: float, *, snapshot: bool) -> None:
        """What was with consumers or dying is delivered anew, and of an ack that settled nothing nobody knows."""
        known = self.retries(now)
        for offset, record in self.records.items():
            if record.state == SETTLED:
                continue
            record.state = WAITING
            deliveries, due = known.get(offset, (0, LONG_AGO))
            assert record.logged[0] == deliveries
            if snapshot:
                record.logged = deliveries, due
            record.deliveries, record.due = record.logged

    # What is said.

    def check_stale(self, consumer: int, first: int, end: int, outcome: Outcome) -> None:
        stale: Ranges = []
        for offset in self.held(consumer, first, end):
            if first < offset:
                stale.append((first, offset))
            first = offset + 1
        if first < end:
            stale.append((first, end))
        assert outcome.stale == stale

    @staticmethod
    def check(
        outcome: Outcome,
        *,
        settled: Iterable[int] = (),
        retries: Mapping[int, int] | None = None,
        dead: Mapping[int, tuple[int, int, int]] | None = None,
    ) -> None:
        """Has an outcome say this and nothing else, apart from what is stale."""
        assert each(outcome.settled) == sorted(settled)
        assert not any(left[1] == right[0] for left, right in pairwise(outcome.settled))
        assert said(outcome.retries, lambda retry: retry.deliveries) == (retries or {})
        assert said(outcome.dead, lambda one: (one.deliveries, one.reason, one.consumer)) == (dead or {})


def each(ranges: Ranges) -> list[int]:
    return [offset for first, end in ranges for offset in range(first, end)]


def said(pieces: list[Retry] | list[Dead], what: Callable[..., object]) -> dict[int, object]:
    offsets = [offset for piece in pieces for offset in range(piece.first, piece.end)]
    assert len(set(offsets)) == len(offsets)
    return {offset: what(piece) for piece in pieces for offset in range(piece.first, piece.end)}
