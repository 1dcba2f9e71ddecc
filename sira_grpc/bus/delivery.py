"""What both ways of delivering a partition to a subscription share: what they take and say, and how they are used."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from sira.bus.v1.dead_letter_pb2 import DeadLetterReason

from sira_grpc.bus.spans import Spans

MAX_DELIVERIES = DeadLetterReason.DEAD_LETTER_REASON_MAX_DELIVERIES
TERMINATED = DeadLetterReason.DEAD_LETTER_REASON_TERMINATED

REVIVAL_SECONDS = 1.0
"""How long a record waits whose dead letter could not be written."""
_JITTER = 0.2
_MOST_DOUBLINGS = 64
"""A nanosecond doubled so often is longer than any delay, and still fits a float."""


@dataclass(frozen=True, slots=True)
class RetryRule:
    """How often a record is delivered, and how long it waits in between.

    Args:
        max_deliveries: deliveries after which it is given up, at least 1.
        min_backoff: seconds that it waits after the first. 0 means never to wait.
        max_backoff: seconds that it waits, at most.
    """

    max_deliveries: int
    min_backoff: float
    max_backoff: float

    def delay(self, attempt: int, rng: random.Random) -> float:
        """Returns how long to wait after a delivery, counted from 1: doubled each time, a fifth up or down, bounded."""
        delay = min(self.max_backoff, self.min_backoff * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS))
        return min(self.max_backoff, delay * rng.uniform(1 - _JITTER, 1 + _JITTER))


class Taken(NamedTuple):
    """Records that were handed to a consumer. `attempt` says which delivery of each it is, from 1."""

    first: int
    end: int
    attempt: int


class Retry(NamedTuple):
    """Records that were delivered in vain so often, and are to be delivered again at `due`, in monotonic seconds."""

    first: int
    end: int
    deliveries: int
    due: float


class Dead(NamedTuple):
    """Records that are given up: how often they were delivered, why, who had them last, and what that one said."""

    first: int
    end: int
    deliveries: int
    reason: DeadLetterReason.ValueType
    consumer: int
    detail: str


@dataclass(slots=True)
class Outcome:
    """What has changed: `settled` and `retries` are to be made durable, `dead` to be written as dead letters.

    Records that go back with the count that they had are in none of these lists: what is durable of them still holds.
    """

    settled: list[tuple[int, int]] = field(default_factory=list)
    """Records that are settled now, in order."""
    retries: list[Retry] = field(default_factory=list)
    """Records that have been delivered in vain once more."""
    dead: list[Dead] = field(default_factory=list)
    """Records that are dying: neither deliverable nor settled, until `bury` or `revive`."""
    stale: list[tuple[int, int]] = field(default_factory=list)
    """Those of the records named that were not with this consumer, in order."""
    held: list[int] = field(default_factory=list)
    """Records that are acknowledged and will be settled with one of their key before them, which is not done with yet:
    if that one is to be delivered again, they are too."""


class Deliveries(Protocol):
    """The records of one partition on their way to the consumers of one subscription.

    Each offset below `next` is in one state: fresh, with a consumer, waiting to be delivered again, dying, or settled.
    Time comes in as `now`, in monotonic seconds, which never goes back. Ranges are half-open; an empty one is of no
    effect. Where an operation names a range of any size, it costs no more than what the machine holds in it.

    A machine is made of what is durable: `settled`, which it takes over, and the retries, where of two for one record
    the later counts, and one for a settled record does not. What was with consumers then is delivered anew, as the same
    attempt as before.
    """

    rule: RetryRule
    """May be replaced. It counts from the next delivery that fails on."""
    max_outstanding: int
    """Records that may be with consumers. May be changed, for what is taken from then on."""

    @property
    def settled(self) -> Spans:
        """The records that are settled. Changed by the machine alone."""

    @property
    def next(self) -> int:
        """The first offset that was never offered, nor skipped: where the caller reads on.

        In a machine that was recovered: in queue mode, after the highest offset known, what is below being deliverable
        already. In ordered mode, the lowest that is not settled: the keys from there on have to be told again.
        """

    @property
    def outstanding(self) -> int:
        """Records that are with consumers."""

    @property
    def retrying(self) -> int:
        """Records that wait to be delivered again, after they were delivered in vain."""

    def room(self) -> int:
        """Returns how many more records may be offered now."""

    def offer(self, first: int, end: int, keys: Sequence[bytes] | None = None) -> None:
        """Makes records deliverable, except those that are settled.

        Args:
            first: must be `next`.
            keys: in ordered mode, the key of each, empty where it has none; None where none has one.
        """

    def skip(self, first: int, end: int) -> Outcome:
        """Settles records that cannot be delivered, except those that are with a consumer: that one may still ack."""

    def ready(self, now: float, consumer: int | None = None) -> bool:
        """Says whether `take` would return something now: to this consumer, or to any."""

    def due(self) -> float | None:
        """Returns when time alone will change something next: then `expire` is to be called. None means never.

        What has come due is left out once `expire`, `take` or `ready` was told the time.
        """

    def take(self, consumer: int, records: int, now: float, ack_timeout: float) -> list[Taken]:
        """Hands records to a consumer, until now + ack_timeout: so many at most, and not beyond max_outstanding."""

    def untake(self, consumer: int, first: int, end: int) -> None:
        """Undoes a take, as if it had never been. Of no effect for records that are not with this consumer."""

    def ack(self, consumer: int, first: int, end: int) -> Outcome:
        """Settles records."""

    def nak(
        self, consumer: int, first: int, end: int, *, now: float, delay: float | None = None, detail: str = ""
    ) -> Outcome:
        """Gives records back, to be delivered again after `delay` seconds; None means by the rule.

        Those that were delivered as often as the rule allows are dead, with `detail`.
        """

    def extend(self, consumer: int, first: int, end: int, *, now: float, timeout: float) -> Outcome:
        """Lets the consumer keep records until now + timeout, be that later or earlier than before."""

    def terminate(self, consumer: int, first: int, end: int, *, detail: str = "") -> Outcome:
        """Gives records up: they are dead, with `detail`."""

    def expire(self, now: float) -> Outcome:
        """Gives back, by the rule, what consumers have kept too long."""

    def leave(self, consumer: int, now: float, *, counted: bool) -> Outcome:
        """Gives back, due at once, everything that is with a consumer whose stream is over.

        Args:
            counted: these deliveries were in vain. Otherwise it is as if they had never been.
        """

    def bury(self, first: int, end: int) -> Outcome:
        """Settles dying records: their dead letters are durable.

        They are not in `Outcome.settled`: the dead letters say that. What had to wait for them is.
        """

    def revive(self, first: int, end: int, now: float) -> None:
        """Makes dying records wait a second for another delivery: their dead letters could not be written.

        The last delivery does not count, so that none is delivered more often than the rule allows.
        """

    def retry_spans(self, now: float) -> list[Retry]:
        """Returns, in order, how often records have been delivered in vain: what a snapshot keeps beside `settled`.

        A delivery whose end is not known does not count: that of records that are with a consumer or dying. They are
        due now.
        """
