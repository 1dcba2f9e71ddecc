"""The stored records of leases: keeps them in line with how leases are held, and claims leases for this member."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack

from sira.registry.internal.v1.lease_record_pb2 import LeaseRecord

from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.errors import LeaseNotFound, StoreUnavailable
from sira_grpc.registry import names
from sira_grpc.registry.entries import LeaseEntry
from sira_grpc.registry.leases import LeaseTable
from sira_grpc.registry.view import RegistryView
from sira_grpc.registry.write_behind import WriteBehind
from sira_grpc.store.api import Op, Put
from sira_grpc.times import timestamp


class LeaseRecords:
    """What the store knows of how leases are held: which member has each one, and whether it is suspect.

    Every write is a compare-and-set on what the view shows, so that of two members one finds out about the other.

    Attributes:
        pending: writes suspicion, and its end, behind the calls that cause it.
    """

    def __init__(self, view: RegistryView, commits: Commits, leases: LeaseTable, clock: Clock) -> None:
        self._view = view
        self._commits = commits
        self._leases = leases
        self._clock = clock
        self.pending = WriteBehind(commits.write, self.op)

    def op(self, lease: str) -> Op | None:
        """Returns the operation that brings a record in line with how a lease is held here; None if there is none."""
        entry = self._view.leases.get(lease)
        if entry is None:
            return None
        tenure = self._leases[lease]
        if tenure.elsewhere:
            return None
        suspect = self._leases.is_suspect(lease)
        if suspect == entry.suspect and (not tenure.heard or self._leases.is_named(entry)):
            return None
        return self._write(entry, suspect=suspect, member=self._leases.member if tenure.heard else entry.record.member)

    def _write(self, entry: LeaseEntry, *, suspect: bool, member: str) -> Op:
        record = LeaseRecord()
        record.CopyFrom(entry.record)
        record.member = member
        if not suspect:
            record.ClearField("suspect_time")
        elif not entry.suspect:
            record.suspect_time.CopyFrom(timestamp(self._clock.time_ns()))
        return Put(names.LEASES + entry.id, record.SerializeToString(), entry.revision)

    async def claim(self, leases: Collection[str]) -> set[str]:
        """Has leases, 1,000 at most, with this member and no longer suspect; returns the ids of those that are gone.

        Nothing is written for those that name this member already. What others claim at the same time is with one of
        them when this returns. Where the store cannot write, leases that this member has adopted may be used all the
        same: nobody else has them, and their records are written later.

        Raises:
            StoreUnavailable: the store cannot write, and another member has one of them.
            Conflict: others wrote one of them too many times.
        """
        return await self._commits.run(self._claim(leases))

    async def _claim(self, leases: Collection[str]) -> set[str]:
        gone = set()
        with ExitStack() as kept:  # what is claimed does not expire meanwhile
            for lease in leases:
                try:
                    kept.enter_context(self._leases.writing(lease))
                except LeaseNotFound:
                    gone.add(lease)
            try:
                await self._commits.apply(lambda: self._claims(set(leases) - gone))
            except StoreUnavailable:
                if any(self._leases[lease].elsewhere for lease in leases if lease in self._view.leases):
                    raise
        return gone | {lease for lease in leases if lease not in self._view.leases}

    def _claims(self, leases: Collection[str]) -> list[Op]:
        entries = [entry for entry in map(self._view.leases.get, leases) if entry is not None]
        return [
            self._write(e, suspect=False, member=self._leases.member) for e in entries if not self._leases.is_named(e)
        ]
