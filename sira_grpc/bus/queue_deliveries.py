"""Queue mode: any consumer gets any record, and what comes back comes after whatever was deliverable before."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from sira_grpc.bus.agenda import Agenda, earliest
from sira_grpc.bus.batches import Lease, Waiting
from sira_grpc.bus.delivery import REVIVAL_SECONDS, TERMINATED, Dead, Outcome, Retry, RetryRule, Taken
from sira_grpc.bus.failures import Failures
from sira_grpc.bus.pieces import append, gaps, joined
from sira_grpc.bus.range_map import RangeMap
from sira_grpc.bus.recovered import recovered
from sira_grpc.bus.spans import Spans

MAX_FRESH = 50_000
"""Records that are on offer and were never delivered; with more, none are offered."""


class QueueDeliveries:
    """See Deliveries. Works on ranges: an operation costs what it splits or joins, not what it holds.

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
        self.outstanding = 0
        self.retrying = 0
        self._rng = rng
        self._fresh: RangeMap[None] = RangeMap()
        self._leases: dict[int, RangeMap[Lease]] = {}  # by consumer
        self._deadlines: Agenda[Lease] = Agenda()
        self._retries: RangeMap[Waiting] = RangeMap()
        self._dues: Agenda[Waiting] = Agenda()
        self._ready: deque[Waiting] = deque()  # those that are due, in the order in which they came due
        self._dying: RangeMap[int] = RangeMap()  # how often it was delivered
        self.next = self._recover(retries)

    def _recover(self, retries: Iterable[Retry]) -> int:
        known = recovered(self.settled, retries)
        after = max(self.settled.end, known.end)
        for first, end in self.settled.missing(0, after):
            pieces = known.cut(first, end)
            for start, stop, (deliveries, due) in pieces:
                self._wait(start, stop, deliveries, due)
            for start, stop in gaps(first, end, ((piece[0], piece[1]) for piece in pieces)):
                self._fresh.put(start, stop, None)
        return after

    def room(self) -> int:
        """See Deliveries. What is on offer is a few ranges; that it is bounded bounds what consumers may give back."""
        return max(0, MAX_FRESH - self._fresh.size)

    def offer(self, first: int, end: int, keys: Sequence[bytes] | None = None) -> None:
        """See Deliveries."""
        for start, stop in self.settled.missing(first, end):
            self._fresh.put(start, stop, None)
        self.next = end

    def skip(self, first: int, end: int) -> Outcome:
        """See Deliveries."""
        outcome = Outcome()
        pieces = [(start, stop) for start, stop, _ in (*self._fresh.cut(first, end), *self._dying.cut(first, end))]
        for start, stop, waiting in self._retries.cut(first, end):
            self._waits_no_more(waiting, stop - start)
            pieces.append((start, stop))
        pieces.extend(self.settled.missing(max(first, self.next), end))
        for start, stop in sorted(pieces):
            self._settle(start, stop, outcome)
        if first <= self.next < end:
            self.next = end
        return outcome

    def ready(self, now: float, consumer: int | None = None) -> bool:
        """See Deliveries."""
        self._mature(now)
        return self.outstanding < self.max_outstanding and (self._first_ready() is not None or self._fresh.size > 0)

    def due(self) -> float | None:
        """See Deliveries."""
        return earliest(self._deadlines.first(), self._dues.first())

    def take(self, consumer: int, records: int, now: float, ack_timeout: float) -> list[Taken]:
        """See Deliveries. What waits and is due comes first."""
        self._mature(now)
        wanted = min(records, self.max_outstanding - self.outstanding)
        taken: list[Taken] = []
        while wanted > 0 and (waiting := self._first_ready()) is not None:
            for first, end, _ in self._retries.cut(waiting.first, waiting.end, wanted):
                self._waits_no_more(waiting, end - first)
                waiting.first = end
                wanted -= end - first
                taken.append(Taken(first, end, waiting.deliveries + 1))
        if wanted > 0:
            taken.extend(Taken(first, end, 1) for first, end, _ in self._fresh.cut(0, self.next, wanted))
        taken = joined(taken)
        for first, end, attempt in taken:
            self._lease(consumer, first, end, attempt, now + ack_timeout)
        return taken

    def untake(self, consumer: int, first: int, end: int) -> None:
        """See Deliveries."""
        self._undo(self._release(consumer, first, end, Outcome()))

    def ack(self, consumer: int, first: int, end: int) -> Outcome:
        """See Deliveries."""
        outcome = Outcome()
        for start, stop, _ in self._release(consumer, first, end, outcome):
            self._settle(start, stop, outcome)
        return outcome

    def nak(
        self, consumer: int, first: int, end: int, *, now: float, delay: float | None = None, detail: str = ""
    ) -> Outcome:
        """See Deliveries."""
        outcome = Outcome()
        failures = Failures(self.rule, self._rng, now, delay=delay, detail=detail)
        for start, stop, attempt in self._release(consumer, first, end, outcome):
            self._apply(failures.judge(start, stop, attempt, consumer), outcome)
        return outcome

    def extend(self, consumer: int, first: int, end: int, *, now: float, timeout: float) -> Outcome:
        """See Deliveries."""
        outcome = Outcome()
        for start, stop, attempt in self._release(consumer, first, end, outcome):
            self._lease(consumer, start, stop, attempt, now + timeout)
        return outcome

    def terminate(self, consumer: int, first: int, end: int, *, detail: str = "") -> Outcome:
        """See Deliveries."""
        outcome = Outcome()
        for start, stop, attempt in self._release(consumer, first, end, outcome):
            self._apply(Dead(start, stop, attempt, TERMINATED, consumer, detail), outcome)
        return outcome

    def expire(self, now: float) -> Outcome:
        """See Deliveries."""
        outcome = Outcome()
        failures = Failures(self.rule, self._rng, now)
        for lease in self._deadlines.pop(now):
            held = self._leases[lease.consumer]
            over = []
            for piece in held.cut(lease.first, lease.end):
                if piece[2] is lease:
                    over.append(piece)
                else:
                    held.put(*piece)
            for first, end, attempt in self._released(over):
                self._apply(failures.judge(first, end, attempt, lease.consumer), outcome)
        self._mature(now)
        return outcome

    def leave(self, consumer: int, now: float, *, counted: bool) -> Outcome:
        """See Deliveries."""
        outcome = Outcome()
        pieces = self._release(consumer, 0, self.next, Outcome())
        self._leases.pop(consumer, None)
        if not counted:
            self._undo(pieces)
            return outcome
        failures = Failures(self.rule, self._rng, now, delay=0.0)
        for first, end, attempt in pieces:
            self._apply(failures.judge(first, end, attempt, consumer), outcome)
        return outcome

    def bury(self, first: int, end: int) -> Outcome:
        """See Deliveries."""
        for start, stop, _ in self._dying.cut(first, end):
            self.settled.add(start, stop)
        return Outcome()

    def revive(self, first: int, end: int, now: float) -> None:
        """See Deliveries."""
        for start, stop, deliveries in self._dying.cut(first, end):
            self._wait(start, stop, deliveries - 1, now + REVIVAL_SECONDS)

    def retry_spans(self, now: float) -> list[Retry]:
        """See Deliveries."""
        return joined(sorted(retry for retry in self._known_retries(now) if retry.deliveries > 0))

    def _known_retries(self, now: float) -> Iterator[Retry]:
        for first, end, waiting in self._retries:
            yield Retry(first, end, waiting.deliveries, now if waiting.moment is None else waiting.moment)
        for held in self._leases.values():
            for first, end, lease in held:
                yield Retry(first, end, lease.attempt - 1, now)
        for first, end, deliveries in self._dying:
            yield Retry(first, end, deliveries - 1, now)

    def _first_ready(self) -> Waiting | None:
        ready = self._ready
        while ready and not ready[0].left:
            ready.popleft()
        return ready[0] if ready else None

    def _mature(self, now: float) -> None:
        self._ready.extend(self._dues.pop(now))

    def _lease(self, consumer: int, first: int, end: int, attempt: int, deadline: float) -> None:
        held = self._leases.get(consumer)
        if held is None:
            held = self._leases[consumer] = RangeMap()
        lease = Lease(consumer, first, end, attempt)
        held.put(first, end, lease)
        self._deadlines.add(lease, deadline)
        self.outstanding += lease.left

    def _release(self, consumer: int, first: int, end: int, outcome: Outcome) -> list[tuple[int, int, int]]:
        """Takes records from a consumer: returns them with their attempts, in order; what it had not is stale."""
        held = self._leases.get(consumer)
        pieces = held.cut(first, end) if held is not None else []
        if len(pieces) != 1 or pieces[0][0] != first or pieces[0][1] != end:
            outcome.stale.extend(gaps(first, end, ((piece[0], piece[1]) for piece in pieces)))
        return self._released(pieces)

    def _released(self, pieces: list[tuple[int, int, Lease]]) -> list[tuple[int, int, int]]:
        """Notes that records are not with a consumer any more, and returns them with their attempts."""
        released: list[tuple[int, int, int]] = []
        for first, end, lease in pieces:
            lease.shrink(end - first)
            self.outstanding -= end - first
            if released and released[-1][1] == first and released[-1][2] == lease.attempt:
                released[-1] = (released[-1][0], end, lease.attempt)
            else:
                released.append((first, end, lease.attempt))
        return released

    def _undo(self, pieces: list[tuple[int, int, int]]) -> None:
        """Makes records deliverable as the attempt that they were, before all others."""
        for first, end, attempt in reversed(pieces):
            if attempt == 1:
                self._fresh.put(first, end, None)
            else:
                self._ready.appendleft(self._waiting(first, end, attempt - 1))

    def _apply(self, verdict: Retry | Dead, outcome: Outcome) -> None:
        if isinstance(verdict, Dead):
            outcome.dead.append(verdict)
            self._dying.put(verdict.first, verdict.end, verdict.deliveries)
        else:
            outcome.retries.append(verdict)
            self._wait(*verdict)

    def _wait(self, first: int, end: int, deliveries: int, due: float) -> None:
        self._dues.add(self._waiting(first, end, deliveries), due)

    def _waiting(self, first: int, end: int, deliveries: int) -> Waiting:
        waiting = Waiting(first, end, deliveries)
        self._retries.put(first, end, waiting)
        if deliveries:
            self.retrying += waiting.left
        return waiting

    def _waits_no_more(self, waiting: Waiting, records: int) -> None:
        waiting.shrink(records)
        if waiting.deliveries:
            self.retrying -= records

    def _settle(self, first: int, end: int, outcome: Outcome) -> None:
        self.settled.add(first, end)
        append(outcome.settled, first, end)
