"""The leases of ordered mode: which records are with which consumer, and until when."""

from __future__ import annotations

from operator import attrgetter

from sira_grpc.bus.agenda import Agenda
from sira_grpc.bus.lanes import Lease, Record

by_offset = attrgetter("offset")


class KeyedLeases:
    """Leases on single records. One is granted for the records that a consumer takes together."""

    def __init__(self) -> None:
        self.records = 0
        """Records that are leased."""
        self.deadlines: Agenda[Lease] = Agenda()
        self._held: dict[int, dict[Lease, None]] = {}  # by consumer

    def grant(self, consumer: int, records: list[Record], deadline: float) -> None:
        """Leases records, at least one, to a consumer; the list is taken over."""
        lease = Lease(consumer, records)
        for record in records:
            record.lease = lease
        self.records += len(records)
        self._held.setdefault(consumer, {})[lease] = None
        self.deadlines.add(lease, deadline)

    def release(self, record: Record) -> None:
        """Takes a record out of its lease."""
        lease = record.lease
        assert lease is not None
        record.lease = None
        self.records -= 1
        lease.left -= 1
        if not lease.left:
            lease.moment = None
            del self._held[lease.consumer][lease]
        elif len(lease.records) > 2 * lease.left:
            lease.records = [other for other in lease.records if other.lease is lease]

    def of(self, consumer: int, first: int, end: int) -> list[Record]:
        """Returns the records in [first, end) that are with a consumer, in order."""
        leases = self._held.get(consumer, ())
        records = (record for lease in leases for record in lease.records if record.lease is lease)
        return sorted((record for record in records if first <= record.offset < end), key=by_offset)

    def over(self, now: float) -> list[Record]:
        """Returns the records whose time is over, in order. They are to be released."""
        leases = self.deadlines.pop(now)
        records = (record for lease in leases for record in lease.records if record.lease is lease)
        return sorted(records, key=by_offset)

    def forget(self, consumer: int) -> None:
        """Drops a consumer that holds nothing any more."""
        self._held.pop(consumer, None)
