"""Holding, renewing and ending leases."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sira.registry.internal.v1.lease_record_pb2 import LeaseRecord
from sira.registry.v1.event_pb2 import EventType
from sira.registry.v1.lease_pb2 import Lease, LeaseState

from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.errors import LeaseNotFound, LeaseNotYours, LeaseSuperseded
from sira_grpc.registry import names
from sira_grpc.registry.entries import LeaseEntry
from sira_grpc.registry.events import EventLog
from sira_grpc.registry.leases import Hold, LeaseTable
from sira_grpc.registry.registrar import Registrar
from sira_grpc.registry.view import RegistryView
from sira_grpc.registry.write_behind import WriteBehind
from sira_grpc.store.api import Delete, Op, Put
from sira_grpc.times import timestamp

RENEWED_AT_ONCE = 500
"""Leases that are renewed without a pause, some 5 ms."""


class LeaseKeeper:
    """The commands on leases.

    Whether a lease is suspect is written to the store, so that every member resolves alike; who holds it and until when
    is in memory.
    """

    def __init__(
        self,
        view: RegistryView,
        commits: Commits,
        leases: LeaseTable,
        registrar: Registrar,
        events: EventLog,
        clock: Clock,
    ) -> None:
        self._view = view
        self._commits = commits
        self._leases = leases
        self._registrar = registrar
        self._events = events
        self._clock = clock
        self.suspects = WriteBehind(commits.write, self.suspect_op)
        self.stopping = False

    def lease_of(self, lease_key: str) -> str:
        """Returns the id of the lease that a key opens.

        Raises:
            LeaseNotFound, LeaseNotYours.
        """
        return self._leases.open(lease_key).id

    def attach(self, lease_key: str, *, actor: str) -> Hold:
        """Binds a lease to a stream, taking it over from an older one; its endpoints are no longer suspect.

        Raises:
            LeaseNotFound, LeaseNotYours.
        """
        entry = self._leases.open(lease_key)
        hold, was_suspect = self._leases.attach(entry.id)
        if was_suspect:
            name = names.lease_name(entry.id)
            self._events.record(EventType.EVENT_TYPE_LEASE_RECOVERED, name, "a stream attached", actor=actor)
        self.suspects.mark(entry.id)
        return hold

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
        """Returns why a hold has ended."""
        name = names.lease_name(hold.lease)
        if hold.lease in view.leases:
            return LeaseSuperseded(f"{name}: another stream attached", metadata={"resource": name})
        return LeaseNotFound(f"{name} is not there: it expired or was revoked", metadata={"resource": name})

    async def renew(self, lease_keys: Sequence[str]) -> list[int]:
        """Renews leases and returns the positions of the keys that open none. Others have a turn in between many."""
        lost = []
        for position, key in enumerate(lease_keys):
            if position % RENEWED_AT_ONCE == RENEWED_AT_ONCE - 1:
                await asyncio.sleep(0)
            try:
                entry = self._leases.open(key)
            except (LeaseNotFound, LeaseNotYours):
                lost.append(position)
                continue
            if self._leases.renew(entry.id):
                name = names.lease_name(entry.id)
                self._events.record(EventType.EVENT_TYPE_LEASE_RECOVERED, name, "renewed")
                self.suspects.mark(entry.id)
        return lost

    async def revoke(self, lease_key: str, cause: str, *, actor: str) -> int:
        """Ends a lease and removes its endpoints; returns the revision.

        Raises:
            LeaseNotFound, LeaseNotYours.
        """
        entry = self._leases.open(lease_key)
        return await self._commits.run(self.end(entry, cause, EventType.EVENT_TYPE_DELETED, actor=actor))

    async def end(self, entry: LeaseEntry, cause: str, kind: EventType.ValueType, *, actor: str = "") -> int:
        """Removes a lease with its endpoints, which nothing may be added to from here on; returns the revision.

        Raises:
            LeaseNotFound: it is being removed already.
        """
        async with self._leases.removing(entry.id):
            return await self._registrar.remove(
                tuple(entry.endpoints),
                cause,
                actor=actor,
                kind=kind,
                belongs=lambda endpoint: endpoint.lease == entry.id,
                then=lambda: [Delete(names.LEASES + entry.id)],
            )

    def suspect_op(self, lease: str) -> Op | None:
        """Returns the operation that brings the stored record in line with how the lease is held; None if it is."""
        entry = self._view.leases.get(lease)
        if entry is None:
            return None
        suspect = self._leases[lease].state == LeaseState.LEASE_STATE_SUSPECT
        if suspect == entry.suspect:
            return None
        record = LeaseRecord()
        record.CopyFrom(entry.record)
        if suspect:
            record.suspect_time.CopyFrom(timestamp(self._clock.time_ns()))
        else:
            record.ClearField("suspect_time")
        return Put(names.LEASES + lease, record.SerializeToString(), entry.revision)

    def describe(self, entry: LeaseEntry) -> Lease:
        """Returns a lease as readers get it."""
        tenure = self._leases[entry.id]
        lease = Lease(
            name=names.lease_name(entry.id),
            ttl=entry.record.ttl,
            state=tenure.state,
            owner=entry.record.owner,
            create_time=entry.record.create_time,
            endpoints=len(entry.endpoints),
        )
        if tenure.state != LeaseState.LEASE_STATE_HELD:
            left = max(0.0, tenure.deadline - self._clock.monotonic())
            lease.expire_time.CopyFrom(timestamp(self._clock.time_ns() + round(left * 1e9)))
        return lease
