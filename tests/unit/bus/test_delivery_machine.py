"""Both ways of delivering against one model of them: whatever is done, in whatever order, and wherever they restart."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sira_grpc.bus.delivery import Deliveries, Outcome, Retry, RetryRule
from sira_grpc.bus.ordered_deliveries import OrderedDeliveries
from sira_grpc.bus.queue_deliveries import QueueDeliveries
from sira_grpc.bus.spans import Spans
from tests.unit.bus.delivery_model import ACKED, DYING, LEASED, LONG_AGO, SETTLED, WAITING, Model, ModelRecord

CONSUMERS = (1, 2, 3)
CONSUMER = st.sampled_from(CONSUMERS)
EVERYTHING = (0, 1 << 62)
LENGTH = st.sampled_from([1, 1, 1, 2, 3, 6])


@dataclass(frozen=True)
class Aim:
    """Which records are meant: so many, from the pick-th on of those that it is about; or all there may be."""

    pick: int
    length: int
    all: bool
    stray: bool
    """Any records from where the settled ones end, be they in the right state or not, and any consumer."""


RARELY = st.sampled_from([False] * 7 + [True])
AIM = st.builds(Aim, st.integers(0, 11), LENGTH, RARELY, RARELY)
SECONDS = st.sampled_from([0.0, 0.25, 1.0, 2.0, 5.0])
KEYS = st.lists(st.sampled_from([b"a", b"a", b"a", b"b", b""]), min_size=1, max_size=6)
MARGIN = 8
"""Offsets beyond the last known that are looked at."""


some_leased = precondition(lambda self: self._model.those(LEASED))
some_dying = precondition(lambda self: self._model.those(DYING))


class DeliveryMachine(RuleBasedStateMachine):
    ordered: bool

    def __init__(self) -> None:
        super().__init__()
        self._rng = random.Random(1)
        self._now = 1_000.0
        # What would be durable: a log of everything that outcomes said.
        self._settled = Spans()
        self._retries: list[Retry] = []
        self._machine: Deliveries
        self._model: Model

    @initialize(
        max_deliveries=st.integers(1, 3),
        min_backoff=st.sampled_from([0.0, 1.0]),
        max_outstanding=st.integers(1, 7),
        floor=st.integers(0, 2),
    )
    def begin(self, max_deliveries: int, min_backoff: float, max_outstanding: int, floor: int) -> None:
        self._model = Model(RetryRule(max_deliveries, min_backoff, 1.5), max_outstanding)
        self._model.records = {offset: ModelRecord(b"", SETTLED) for offset in range(floor)}
        self._settled = Spans(floor)
        self._machine = self.made(Spans(floor), [])

    def made(self, settled: Spans, retries: list[Retry]) -> Deliveries:
        kind = OrderedDeliveries if self.ordered else QueueDeliveries
        model = self._model
        return kind(model.rule, rng=self._rng, settled=settled, retries=retries, max_outstanding=model.max_outstanding)

    def leased(self, aim: Aim) -> tuple[int, int, int]:
        """The consumer and the range that are meant, of records that consumers have."""
        held = self._model.those(LEASED)
        if aim.stray:
            return (CONSUMERS[aim.pick % len(CONSUMERS)], *self.stray(aim))
        first = held[aim.pick % len(held)]
        consumer = self._model.records[first].consumer
        return (consumer, *(EVERYTHING if aim.all else (first, first + aim.length)))

    def dying(self, aim: Aim) -> tuple[int, int]:
        dying = self._model.those(DYING)
        if aim.all or not dying:
            return EVERYTHING
        first = dying[aim.pick % len(dying)]
        return first, first + aim.length

    def stray(self, aim: Aim) -> tuple[int, int]:
        first = max(0, self._machine.settled.floor - 1) + aim.pick
        return first, first + aim.length

    def noted(self, outcome: Outcome) -> Outcome:
        for first, end in outcome.settled:
            self._settled.add(first, end)
        self._retries.extend(outcome.retries)
        return outcome

    # What is done.

    @rule(keys=KEYS)
    def offer(self, keys: list[bytes]) -> None:
        first = self._machine.next
        end = first + min(len(keys), self._machine.room())
        if not self.ordered:
            keys = [b""] * len(keys)
        self._machine.offer(first, end, keys)
        for offset in range(first, end):
            self._model.records.setdefault(offset, ModelRecord(keys[offset - first]))

    @rule(aim=AIM)
    def skip(self, aim: Aim) -> None:
        first, end = self.stray(aim)
        self._model.skip(first, end, self.noted(self._machine.skip(first, end)))

    @rule()
    def skip_to_come(self) -> None:
        first = self._machine.next
        self._model.skip(first, first + 1, self.noted(self._machine.skip(first, first + 1)))

    @rule(consumer=CONSUMER, records=st.integers(0, 6), timeout=SECONDS)
    def take(self, consumer: int, records: int, timeout: float) -> None:
        waiting = set(self._model.those(WAITING))
        fresh = {o for o in waiting if self._model.records[o].due == LONG_AGO and not self._model.records[o].deliveries}
        ready = self._machine.ready(self._now, consumer)
        taken = self._machine.take(consumer, records, self._now, timeout)
        assert ready or not taken
        self._model.take(consumer, records, taken, self._now, self._now + timeout)
        left = set(self._model.those(WAITING))
        if not self.ordered and fresh - left:  # then what came back and is due went first
            assert all(self._model.records[offset].due > self._now for offset in waiting & left - fresh)

    @some_leased
    @rule(aim=AIM)
    def untake(self, aim: Aim) -> None:
        consumer, first, end = self.leased(aim)
        self._machine.untake(consumer, first, end)
        self._model.untake(consumer, self._model.held(consumer, first, end))

    @some_leased
    @rule(aim=AIM)
    def ack(self, aim: Aim) -> None:
        consumer, first, end = self.leased(aim)
        self._model.ack(consumer, first, end, self.noted(self._machine.ack(consumer, first, end)))

    @some_leased
    @rule(aim=AIM, delay=st.one_of(st.none(), SECONDS))
    def nak(self, aim: Aim, delay: float | None) -> None:
        consumer, first, end = self.leased(aim)
        outcome = self.noted(self._machine.nak(consumer, first, end, now=self._now, delay=delay, detail="no"))
        assert all(dead.detail == "no" for dead in outcome.dead)
        due = self._now + (delay or 0)
        dues = self._model.backoff(self._now) if delay is None else lambda _: (due, due)
        self._model.nak(consumer, first, end, outcome, dues)

    @some_leased
    @rule(aim=AIM, timeout=SECONDS)
    def extend(self, aim: Aim, timeout: float) -> None:
        consumer, first, end = self.leased(aim)
        outcome = self._machine.extend(consumer, first, end, now=self._now, timeout=timeout)
        self._model.extend(consumer, first, end, self._now + timeout, outcome)

    @some_leased
    @rule(aim=AIM)
    def terminate(self, aim: Aim) -> None:
        consumer, first, end = self.leased(aim)
        self._model.terminate(consumer, first, end, self._machine.terminate(consumer, first, end, detail="bad"))

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self._now += seconds

    @rule(seconds=SECONDS)
    def expire(self, seconds: float) -> None:
        self._now += seconds
        self._model.expire(self._now, self.noted(self._machine.expire(self._now)))
        due = self._machine.due()
        assert due is None or due > self._now

    @some_leased
    @rule(consumer=CONSUMER, counted=st.booleans())
    def leave(self, consumer: int, counted: bool) -> None:
        outcome = self.noted(self._machine.leave(consumer, self._now, counted=counted))
        self._model.leave(consumer, self._now, outcome, counted=counted)

    @some_dying
    @rule(aim=AIM)
    def bury(self, aim: Aim) -> None:
        first, end = self.dying(aim)
        for offset in self._model.bury(first, end, self.noted(self._machine.bury(first, end))):
            self._settled.add(offset, offset + 1)

    @some_dying
    @rule(aim=AIM)
    def revive(self, aim: Aim) -> None:
        first, end = self.dying(aim)
        self._machine.revive(first, end, self._now)
        self._model.revive(first, end, self._now)

    @rule(max_outstanding=st.integers(1, 7))
    def allow(self, max_outstanding: int) -> None:
        self._machine.max_outstanding = self._model.max_outstanding = max_outstanding

    @rule(snapshot=st.booleans())
    def restart(self, snapshot: bool) -> None:
        end = max(self._model.records, default=-1) + 1
        if snapshot:
            settled, retries = self._machine.settled, self._machine.retry_spans(self._now)
            self._settled, self._retries = Spans(settled.floor, settled.spans()), retries
        self._model.restart(self._now, snapshot=snapshot)
        self._machine = self.made(Spans(self._settled.floor, self._settled.spans()), list(self._retries))
        for offset in range(self._machine.next):
            self._model.records.setdefault(offset, ModelRecord(b""))  # recovered as one of which nothing is known
        if self._machine.next < end:
            keys = [self._model.records.setdefault(o, ModelRecord(b"")).key for o in range(self._machine.next, end)]
            self._machine.offer(self._machine.next, end, keys)

    # What holds always.

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        if not hasattr(self, "_machine"):
            return
        machine, model = self._machine, self._model
        known = range(max(model.records, default=0) + MARGIN)
        assert [offset for offset in known if offset in machine.settled] == model.those(SETTLED)
        assert machine.outstanding == len(model.those(LEASED))
        assert machine.retrying == sum(model.records[o].deliveries > 0 for o in model.those(WAITING))
        for consumer in CONSUMERS:
            ready = bool(model.free() and model.available(consumer, self._now))
            assert machine.ready(self._now, consumer) == ready
        assert machine.ready(self._now) == any(machine.ready(self._now, consumer) for consumer in CONSUMERS)
        assert machine.due() == model.due(self._now)

    @invariant()
    def a_snapshot_says_how_often_records_have_failed(self) -> None:
        if hasattr(self, "_machine"):
            spans = self._machine.retry_spans(self._now)
            assert spans == sorted(spans)
            told = {o: (r.deliveries, max(self._now, r.due)) for r in spans for o in range(r.first, r.end)}
            assert told == self._model.retries(self._now)

    @invariant()
    def the_room_is_what_the_window_leaves(self) -> None:
        if hasattr(self, "_machine") and self.ordered:
            held = sum(len(self._model.those(state)) for state in (WAITING, LEASED, ACKED, DYING))
            assert self._machine.room() == max(0, 2 * self._model.max_outstanding - held)

    def teardown(self) -> None:
        """In the end everything is settled, once consumers acknowledge and dead letters are written."""
        if not hasattr(self, "_machine"):
            return
        everything = Aim(0, 1, all=True, stray=False)
        for _ in range(2 * len(self._model.records) + 2):
            self.expire(100.0)
            self.bury(everything)
            for consumer in CONSUMERS:
                self.take(consumer, 1 << 30, 5.0)
            while self._model.those(LEASED):
                self.ack(everything)
        self.it_is_as_the_model_says()
        assert self._model.those(SETTLED) == sorted(self._model.records)
        assert self._machine.settled.count(0, self._machine.next) == self._machine.next


class QueueMachine(DeliveryMachine):
    ordered = False


class OrderedMachine(DeliveryMachine):
    ordered = True


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestOrdered = OrderedMachine.TestCase
TestOrdered.settings = settings(max_examples=250, stateful_step_count=40, deadline=None)
