"""Holding, renewing and ending leases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice

from sira.registry.v1.event_pb2 import EventType
from sira.registry.v1.lease_pb2 import Lease, LeaseState

from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.errors import LeaseNotFound, LeaseNotYours, LeaseSuperseded, NotOwner
from sira_grpc.registry import names
from sira_grpc.registry.entries import LeaseEntry
from sira_grpc.registry.events import EventLog
from sira_grpc.registry.lease_records import LeaseRecords
from sira_grpc.registry.leases import LeaseTable
from sira_grpc.registry.registrar import Registrar
from sira_grpc.registry.tenure import Hold
from sira_grpc.registry.view import RegistryView
from sira_grpc.store.api import Delete, Op
from sira_grpc.times import NANOS, seconds, timestamp

RENEWED_AT_ONCE = 500
"""Leases that are renewed without a pause, some 5 ms."""
CLAIMED_AT_ONCE = 250
"""Leases that are claimed from other members in one commit, at most."""


class LeaseKeeper:
    """The commands on leases.

    Whether a lease is suspect and which member has it are written to the store, so that every member resolves alike and
    knows whose it is; who holds it and until when is in memory. A sign of life at another member than the one that has
    a lease claims it for that one, before it is answered.
    """

    def __init__(
        self,
        view: RegistryView,
        commits: Commits,
        leases: LeaseTable,
        registrar: Registrar,
        events: EventLog,
        clock: Clock,
        records: LeaseRecords,
    ) -> None:
        self._view = view
        self._commits = commits
        self._leases = leases
        self._registrar = registrar
        self._events = events
        self._clock = clock
        self._records = records
        self.suspects = records.pending
        self.stopping = False

    async def lease_of(self, lease_key: str) -> str:
        """Returns the id of the lease that a key opens.

        Raises:
            LeaseNotFound, LeaseNotYours.
        """
        return (await self._open(lease_key)).id

    async def _open(self, lease_key: str) -> LeaseEntry:
        return await self._commits.sure(lambda: self._leases.open(lease_key))

    async def attach(self, lease_key: str, *, actor: str) -> Hold:
        """Binds a lease to a stream, taking it over from an older one; its endpoints are no longer suspect.

        Raises:
            LeaseNotFound, LeaseNotYours.
            NotOwner: another member claimed it at the same time.
            StoreUnavailable: another member has it, and the store cannot write.
        """
        entry = await self._open(lease_key)
        was_suspect = self._leases.is_suspect(entry.id)
        if not self._leases.is_named(entry):
            await self._records.claim([entry.id])
            entry = self._leases.open(lease_key)
            if not self._leases.has(entry.id):
                raise _moved(entry.id)
        hold = self._leases.attach(entry.id)
        if was_suspect:
            self._recovered(entry.id, "a stream attached", actor)
        self.suspects.mark(entry.id)
        return hold

    def _recovered(self, lease: str, cause: str, actor: str = "") -> None:
        self._events.record(EventType.EVENT_TYPE_LEASE_RECOVERED, names.lease_name(lease), cause, actor=actor)

    def lost(self, hold: Hold, *, actor: str) -> None:
        """Notes that a stream ended without releasing its lease. When the kernel is stopping, nobody is suspect."""
        if self.stopping or not self._leases.lost(hold):
            return
        name = names.lease_name(hold.lease)
        self._events.record(EventType.EVENT_TYPE_LEASE_SUSPECT, name, "its stream was lost", actor=actor)
        self.suspects.mark(hold.lease)

    def overdue(self, entry: LeaseEntry) -> None:
        """Makes a lease that has run out but is kept by self-preservation suspect: it stays, but is not resolved."""
        if self._leases.suspect(entry.id):
            name = names.lease_name(entry.id)
            self._events.record(EventType.EVENT_TYPE_LEASE_SUSPECT, name, "its TTL is over while expiry is paused")
            self.suspects.mark(entry.id)

    @staticmethod
    def end_of(hold: Hold, view: RegistryView) -> Exception:
        """Returns why a hold has ended.

        That another member has the lease is no reason for its holder to give up: it may be its own claim there, made
        while the store did not answer, that only now came to be.
        """
        name = names.lease_name(hold.lease)
        if hold.lease not in view.leases:
            return LeaseNotFound(f"{name} is not there: it expired or was revoked", metadata={"resource": name})
        if hold.moved:
            return _moved(hold.lease)
        return LeaseSuperseded(f"{name}: another stream attached", metadata={"resource": name})

    async def renew(self, lease_keys: Sequence[str]) -> list[int]:
        """Renews leases and returns the positions of the keys that open none. Others have a turn in between many.

        Raises:
            StoreUnavailable: another member has one of them, and the store cannot write. Those that were with this
                member are renewed.
        """
        lost = await self._renew_all(lease_keys)
        if lost:  # a member whose view is behind must not have a client give its lease up
            await self._commits.catch_up()
            lost = [lost[i] for i in await self._renew_all([lease_keys[position] for position in lost])]
        return lost

    async def _renew_all(self, lease_keys: Sequence[str]) -> list[int]:
        lost = []
        others: dict[str, list[int]] = {}  # to be claimed: ids, with the positions of their keys
        for position, key in enumerate(lease_keys):
            if position % RENEWED_AT_ONCE == RENEWED_AT_ONCE - 1:
                await asyncio.sleep(0)
            try:
                entry = self._leases.open(key)
            except (LeaseNotFound, LeaseNotYours):
                lost.append(position)
                continue
            if self._leases.is_named(entry):
                self._renew(entry.id)
            else:
                others.setdefault(entry.id, []).append(position)
        ids = iter(others)
        while batch := list(islice(ids, CLAIMED_AT_ONCE)):
            lost += [position for lease in await self._claim_and_renew(batch) for position in others[lease]]
        return sorted(lost)

    async def _claim_and_renew(self, leases: Sequence[str]) -> set[str]:
        """Renews leases that this member is not named for; returns those that are gone."""
        for lease in leases:
            self._renew(lease)  # those that it has adopted, whether the store can write or not
        suspect = {lease for lease in leases if lease in self._view.leases and self._leases.is_suspect(lease)}
        gone = await self._records.claim(leases)
        for lease in suspect - gone:
            self._recovered(lease, "renewed at another member")
        return gone

    def _renew(self, lease: str) -> None:
        if lease not in self._view.leases:
            return
        if self._leases.renew(lease):
            self._recovered(lease, "renewed")
            self.suspects.mark(lease)
        elif not self._leases.is_named(self._view.leases[lease]):
            self.suspects.mark(lease)

    async def revoke(self, lease_key: str, cause: str, *, actor: str) -> int:
        """Ends a lease and removes its endpoints; returns the revision.

        Raises:
            LeaseNotFound, LeaseNotYours.
        """
        entry = await self._open(lease_key)
        return await self._commits.run(self.end(entry, cause, actor=actor))

    async def release(self, hold: Hold, *, actor: str) -> None:
        """Ends the lease that a stream holds, unless another stream or member has taken it over.

        Raises:
            StoreUnavailable: the store cannot write.
        """
        entry = self._view.leases.get(hold.lease)
        if entry is None:
            return

        def still_held(entry: LeaseEntry) -> Sequence[Op]:
            return [Delete(names.LEASES + entry.id, entry.revision)] if not hold.ended.done() else []

        await self._commits.run(self._end(entry, "released", still_held, actor=actor))

    async def end(self, entry: LeaseEntry, cause: str, *, actor: str = "") -> int:
        """Removes a lease with its endpoints, whichever member has it; returns the revision.

        Raises:
            LeaseNotFound: it is being removed already.
        """
        return await self._end(
            entry, cause, lambda entry: [Delete(names.LEASES + entry.id, entry.revision)], actor=actor
        )

    async def _end(
        self, entry: LeaseEntry, cause: str, ending: Callable[[LeaseEntry], Sequence[Op]], *, actor: str
    ) -> int:
        ended = False

        def end() -> Sequence[Op]:
            nonlocal ended
            current = self._view.leases.get(entry.id)
            ops = ending(current) if current is not None else ()
            ended = bool(ops)
            return ops

        async with self._leases.removing(entry.id):
            return await self._registrar.remove(
                tuple(entry.endpoints),
                cause,
                actor=actor,
                belongs=lambda endpoint: ended and endpoint.lease == entry.id,
                first=end,
            )

    def describe(self, entry: LeaseEntry) -> Lease:
        """Returns a lease as readers get it.

        When one expires that another member has is known while it is suspect. Until then it is told as held: that
        member vouches for it.
        """
        tenure = self._leases[entry.id]
        lease = Lease(
            name=names.lease_name(entry.id),
            ttl=entry.record.ttl,
            state=tenure.state,
            owner=entry.record.owner,
            create_time=entry.record.create_time,
            endpoints=len(entry.endpoints),
        )
        left = self._leases.left(entry)
        if left is not None:
            lease.expire_time.CopyFrom(timestamp(self._clock.time_ns() + round(left * NANOS)))
        elif tenure.elsewhere and entry.suspect:
            lease.state = LeaseState.LEASE_STATE_SUSPECT
            lost_ns = entry.record.suspect_time.ToNanoseconds()
            lease.expire_time.CopyFrom(timestamp(lost_ns + round(seconds(entry.record.ttl) * NANOS)))
        elif tenure.elsewhere:
            live = self._leases.is_live(entry)
            lease.state = LeaseState.LEASE_STATE_HELD if live else LeaseState.LEASE_STATE_RECOVERING
        return lease


def _moved(lease: str) -> NotOwner:
    name = names.lease_name(lease)
    return NotOwner(f"{name} is with another member; attach again", metadata={"resource": name}, retry_after=0.1)
