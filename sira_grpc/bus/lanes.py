"""Lanes of ordered mode: the records of one key that are not settled, in their order."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from sira_grpc.bus.delivery import Taken

WAITING: Final = 0
"""To be delivered, for the first time or again."""
LEASED: Final = 1
"""With a consumer."""
ACKED: Final = 2
"""Acknowledged, but not settled: an earlier record of its lane may still have to be delivered again."""
DYING: Final = 3
"""Given up, but not settled: its dead letter is not durable yet."""


class Lease:
    """Records that a consumer took together. `moment` is when its time is over."""

    __slots__ = ("consumer", "left", "moment", "records")

    def __init__(self, consumer: int, records: list[Record]) -> None:
        self.consumer = consumer
        self.records = records
        """May contain records that it does not hold any more: as many as those that it holds, and a few."""
        self.left = len(records)
        self.moment: float | None = None


class Record:
    """A record in its lane. `moment` is when it may be delivered, where it has to wait for that."""

    __slots__ = ("after", "before", "deliveries", "lane", "lease", "moment", "offset", "state")

    def __init__(self, offset: int, lane: Lane) -> None:
        self.offset = offset
        self.lane = lane
        self.state = WAITING
        self.deliveries = 0
        """How often it was delivered in vain; while it is dying, the last delivery included."""
        self.lease: Lease | None = None  # set while it is LEASED
        self.moment: float | None = None
        self.before: Record | None = None
        self.after: Record | None = None


class Lane:
    """A doubly linked list of records in the order of their offsets, and how far it has been handed out.

    Records before `next` are LEASED, ACKED or DYING; those after it WAITING or DYING. The first is never ACKED.
    """

    __slots__ = ("dying", "head", "key", "leased", "next", "owner", "queue", "tail", "turn")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.head: Record | None = None
        self.tail: Record | None = None
        self.next: Record | None = None
        """The first that is WAITING."""
        self.leased = 0
        """How many are LEASED: all of them by `owner`."""
        self.owner = 0
        self.dying = 0
        """How many of those before `next` are DYING: nothing is handed out beyond them."""
        # Where it is queued to be handed out, for the keeper of the queues.
        self.queue: OrderedDict[Lane, None] | None = None
        self.turn = 0

    def append(self, record: Record) -> None:
        """Adds a WAITING record, later than all others."""
        tail = self.tail
        if tail is None:
            self.head = record
        else:
            tail.after = record
            record.before = tail
        self.tail = record
        if self.next is None:
            self.next = record

    def lease_next(self, consumer: int) -> Record:
        """Makes `next`, which must be there, LEASED by its owner: this consumer."""
        record = self.next
        assert record is not None
        record.state = LEASED
        self.owner = consumer
        self.leased += 1
        self._advance(record)
        return record

    def passed(self, record: Record) -> bool:
        """Says whether a record comes before `next`."""
        return self.next is None or record.offset < self.next.offset

    def rewind(self, record: Record) -> list[Record]:
        """Makes a record that comes before `next` the next one, and returns those that are WAITING because of it.

        These are the record itself and all after it that were LEASED or ACKED.
        """
        back = []
        at: Record | None = record
        while at is not None and at is not self.next:
            if at.state == DYING:
                self.dying -= 1
            if at.state != DYING or at is record:
                self.leased -= at.state == LEASED
                at.state = WAITING
                back.append(at)
            at = at.after
        self.next = record
        return back

    def remove(self, record: Record) -> None:
        """Takes a record out that is not LEASED."""
        if record is self.next:
            self._advance(record)
        elif record.state == DYING and self.passed(record):
            self.dying -= 1
        before, after = record.before, record.after
        if before is None:
            self.head = after
        else:
            before.after = after
        if after is None:
            self.tail = before
        else:
            after.before = before
        record.before = record.after = None

    def _advance(self, record: Record) -> None:
        """Makes the first WAITING record after this one the next."""
        at = record.after
        while at is not None and at.state == DYING:
            self.dying += 1
            at = at.after
        self.next = at


def taken(records: list[Record]) -> list[Taken]:
    """Returns LEASED records, which are in order and at least one, as ranges of one attempt each."""
    ranges: list[Taken] = []
    first = end = attempt = 0
    for record in records:
        if record.offset != end or record.deliveries + 1 != attempt:
            if attempt:
                ranges.append(Taken(first, end, attempt))
            first, attempt = record.offset, record.deliveries + 1
        end = record.offset + 1
    ranges.append(Taken(first, end, attempt))
    return ranges
