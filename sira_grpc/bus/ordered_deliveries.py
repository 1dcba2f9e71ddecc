"""Ordered mode: the records of one key go to one consumer at a time, in their order; other keys go on."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence

from sira_grpc.bus.agenda import Agenda, earliest
from sira_grpc.bus.delivery import REVIVAL_SECONDS, TERMINATED, Dead, Outcome, Retry, RetryRule, Taken
from sira_grpc.bus.failures import Failures
from sira_grpc.bus.keyed_leases import KeyedLeases, by_offset
from sira_grpc.bus.lanes import ACKED, DYING, LEASED, WAITING, Record, taken
from sira_grpc.bus.pieces import append, gaps, in_order, joined, runs
from sira_grpc.bus.ready_lanes import ReadyLanes
from sira_grpc.bus.recovered import recovered
from sira_grpc.bus.spans import Spans
from sira_grpc.bus.window import Window

_WINDOW = 2
"""Records that are held, as a multiple of max_outstanding: so many that a key that waits does not stop the others."""


class OrderedDeliveries:
    """See Deliveries. Works on single records: each is held from when it is offered until it is settled.

    A key with records at a consumer belongs to it: it may get more of them, nobody else may. When a record goes back,
    those of its key that follow it do too, acknowledged or not, with the count that they had; and none of them is
    delivered before it. So an ack settles a record only once all before it of its key are settled. After a dead record,
    nothing more of its key is handed out until it is buried.

    Keys have their turns in the order in which they became ready, for one record each. Of the records of a key that a
    consumer has kept too long, or had when it left, only the first counts as delivered in vain: it may not have come
    to the others. Records without a key are each a key of their own.

    Args:
        rng: for jitter.
        settled: what is settled; taken over.
        retries: what was delivered in vain, in the order in which it became known.
    """

    def __init__(
        self,
        rule: RetryRule,
        *,
        rng: random.Random,
        settled: Spans,
        retries: Iterable[Retry] = (),
        max_outstanding: int,
    ) -> None:
        self.rule = rule
        self.max_outstanding = max_outstanding
        self.settled = settled
        self.next = settled.floor
        self._rng = rng
        self._window = Window()
        self._ready = ReadyLanes()
        self._leases = KeyedLeases()
        self._dues: Agenda[Record] = Agenda()
        self._retrying = 0
        self._recovered = recovered(settled, retries)  # of what is yet to be offered

    @property
    def outstanding(self) -> int:
        """See Deliveries."""
        return self._leases.records

    @property
    def retrying(self) -> int:
        """See Deliveries."""
        return self._retrying + self._recovered.size

    def room(self) -> int:
        """See Deliveries. The window less what is held."""
        return max(0, _WINDOW * self.max_outstanding - len(self._window.records))

    def offer(self, first: int, end: int, keys: Sequence[bytes] | None = None) -> None:
        """See Deliveries."""
        known = {n: value for start, stop, value in self._recovered.cut(first, end) for n in range(start, stop)}
        for start, stop in self.settled.missing(first, end):
            for offset in range(start, stop):
                record = self._window.add(offset, keys[offset - first] if keys is not None else b"")
                if offset in known:
                    record.deliveries, due = known[offset]
                    self._dues.add(record, due)
                    self._retrying += record.deliveries > 0
                if record.lane.next is record:
                    self._ready.place(record.lane)
        self.next = end

    def skip(self, first: int, end: int) -> Outcome:
        """See Deliveries."""
        outcome = Outcome()
        settled: list[int] = []
        for record in self._window.among(first, end):
            if record.state != LEASED:
                settled.append(record.offset)
                self._drop(record, settled)
        self._settle(settled, outcome)
        self._recovered.cut(first, end)
        for start, stop in list(self.settled.missing(max(first, self.next), end)):
            self.settled.add(start, stop)
            append(outcome.settled, start, stop)
        if first <= self.next < end:
            self.next = end
        return outcome

    def ready(self, now: float, consumer: int | None = None) -> bool:
        """See Deliveries."""
        self._mature(now)
        return self.outstanding < self.max_outstanding and self._ready.any(consumer)

    def due(self) -> float | None:
        """See Deliveries."""
        return earliest(self._leases.deadlines.first(), self._dues.first())

    def take(self, consumer: int, records: int, now: float, ack_timeout: float) -> list[Taken]:
        """See Deliveries. What is taken together is in the order of the offsets."""
        self._mature(now)
        wanted = min(records, self.max_outstanding - self.outstanding)
        got: list[Record] = []
        while len(got) < wanted and (lane := self._ready.pop(consumer)) is not None:
            record = lane.lease_next(consumer)
            self._retrying -= record.deliveries > 0
            got.append(record)
            if lane.next is not None:
                self._ready.place(lane)
        if not got:
            return []
        got.sort(key=by_offset)
        self._leases.grant(consumer, got, now + ack_timeout)
        return taken(got)

    def untake(self, consumer: int, first: int, end: int) -> None:
        """See Deliveries."""
        for record in self._held(consumer, first, end, Outcome()):
            if record.lease is not None:
                self._give_back(record)

    def ack(self, consumer: int, first: int, end: int) -> Outcome:
        """See Deliveries."""
        outcome = Outcome()
        settled: list[int] = []
        for record in self._held(consumer, first, end, outcome):
            lane = record.lane
            self._leases.release(record)
            record.state = ACKED
            lane.leased -= 1
            if record is lane.head:
                self._window.settle_head(lane, settled)
            else:
                outcome.held.append(record.offset)
            if not lane.leased:
                self._ready.place(lane)
        if outcome.held and settled:
            done = set(settled)
            outcome.held = [offset for offset in outcome.held if offset not in done]
        self._settle(settled, outcome)
        return outcome

    def nak(
        self, consumer: int, first: int, end: int, *, now: float, delay: float | None = None, detail: str = ""
    ) -> Outcome:
        """See Deliveries."""
        outcome = Outcome()
        failures = Failures(self.rule, self._rng, now, delay=delay, detail=detail)
        # The last first: otherwise the first would take the others of its key back, and they would not count.
        for record in reversed(self._held(consumer, first, end, outcome)):
            self._fail(record, failures, outcome)
        return in_order(outcome)

    def extend(self, consumer: int, first: int, end: int, *, now: float, timeout: float) -> Outcome:
        """See Deliveries."""
        outcome = Outcome()
        records = self._held(consumer, first, end, outcome)
        for record in records:
            self._leases.release(record)
        if records:
            self._leases.grant(consumer, records, now + timeout)
        return outcome

    def terminate(self, consumer: int, first: int, end: int, *, detail: str = "") -> Outcome:
        """See Deliveries."""
        outcome = Outcome()
        for record in self._held(consumer, first, end, outcome):
            record.deliveries += 1
            dead = Dead(record.offset, record.offset + 1, record.deliveries, TERMINATED, consumer, detail)
            outcome.dead.append(dead)
            self._doom(record)
        return in_order(outcome)

    def expire(self, now: float) -> Outcome:
        """See Deliveries."""
        outcome = Outcome()
        self._fail_first(self._leases.over(now), Failures(self.rule, self._rng, now), outcome)
        self._mature(now)
        return in_order(outcome)

    def leave(self, consumer: int, now: float, *, counted: bool) -> Outcome:
        """See Deliveries."""
        outcome = Outcome()
        if counted:
            records = self._held(consumer, 0, self.next, Outcome())
            self._fail_first(records, Failures(self.rule, self._rng, now, delay=0.0), outcome)
        else:
            self.untake(consumer, 0, self.next)
        self._leases.forget(consumer)
        self._ready.forget(consumer)
        return in_order(outcome)

    def bury(self, first: int, end: int) -> Outcome:
        """See Deliveries."""
        outcome = Outcome()
        settled: list[int] = []
        for record in self._window.among(first, end):
            if record.state == DYING:
                self.settled.add(record.offset, record.offset + 1)
                self._drop(record, settled)
        self._settle(settled, outcome)
        return outcome

    def revive(self, first: int, end: int, now: float) -> None:
        """See Deliveries."""
        for record in self._window.among(first, end):
            if record.state != DYING:
                continue
            record.deliveries -= 1
            self._dues.add(record, now + REVIVAL_SECONDS)
            if record.lane.passed(record):
                self._give_back(record)
            else:
                record.state = WAITING
                self._retrying += record.deliveries > 0

    def retry_spans(self, now: float) -> list[Retry]:
        """See Deliveries."""
        return joined(sorted(retry for retry in self._known_retries(now) if retry.deliveries > 0))

    def _known_retries(self, now: float) -> Iterator[Retry]:
        for offset, record in self._window.records.items():
            deliveries = record.deliveries - (record.state == DYING)
            yield Retry(offset, offset + 1, deliveries, now if record.moment is None else record.moment)
        for first, end, (deliveries, due) in self._recovered:
            yield Retry(first, end, deliveries, due)

    def _mature(self, now: float) -> None:
        for record in self._dues.pop(now):
            if record is record.lane.next:
                self._ready.place(record.lane)

    def _held(self, consumer: int, first: int, end: int, outcome: Outcome) -> list[Record]:
        """Returns the records of a range that are with a consumer, in order; the others are stale."""
        if end - first > self._leases.records:
            held = self._leases.of(consumer, first, end)
        else:
            held = self._window.leased(consumer, first, end)
        if len(held) < end - first:
            outcome.stale.extend(gaps(first, end, ((record.offset, record.offset + 1) for record in held)))
        return held

    def _fail_first(self, records: list[Record], failures: Failures, outcome: Outcome) -> None:
        """Has the deliveries of records fail, in order: the first of a key takes those after it back."""
        for record in records:
            if record.lease is not None:
                self._fail(record, failures, outcome)

    def _fail(self, record: Record, failures: Failures, outcome: Outcome) -> None:
        assert record.lease is not None
        record.deliveries += 1
        verdict = failures.judge(record.offset, record.offset + 1, record.deliveries, record.lease.consumer)
        if isinstance(verdict, Dead):
            outcome.dead.append(verdict)
            self._doom(record)
            self._give_back_after(record)
        else:
            outcome.retries.append(verdict)
            self._dues.add(record, verdict.due)
            self._give_back(record)

    def _doom(self, record: Record) -> None:
        """Makes a record that is with a consumer a dying one."""
        self._leases.release(record)
        record.state = DYING
        record.lane.leased -= 1
        record.lane.dying += 1
        self._ready.place(record.lane)

    def _give_back(self, record: Record) -> None:
        """Makes a record that was handed out a waiting one, with all that were handed out after it of its key."""
        for back in record.lane.rewind(record):
            if back.lease is not None:
                self._leases.release(back)
            self._retrying += back.deliveries > 0
        self._ready.place(record.lane)

    def _give_back_after(self, record: Record) -> None:
        """Gives back what was handed out after a dying record: its consumer, which gave that one back, expects it."""
        after = record.after
        while after is not None and after.state == DYING:
            after = after.after
        if after is not None and record.lane.passed(after):
            self._give_back(after)

    def _drop(self, record: Record, settled: list[int]) -> None:
        """Takes out a record that is settled, and adds those to `settled` that had to wait for it alone."""
        self._retrying -= record.state == WAITING and record.deliveries > 0
        record.moment = None
        self._window.remove(record, settled)
        self._ready.place(record.lane)

    def _settle(self, offsets: list[int], outcome: Outcome) -> None:
        offsets.sort()
        for first, end in runs(offsets):
            self.settled.add(first, end)
            outcome.settled.append((first, end))
