"""Registering, changing and removing endpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.internal.v1.lease_record_pb2 import LeaseRecord
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.event_pb2 import EventType

from sira_grpc.clock import Clock
from sira_grpc.commits import MAX_CHANGES, Commits
from sira_grpc.errors import LeaseNotYours, SiraError
from sira_grpc.etags import check_etag, with_etag
from sira_grpc.field_masks import overwrite
from sira_grpc.registry import names
from sira_grpc.registry.entries import EndpointEntry
from sira_grpc.registry.events import EventLog
from sira_grpc.registry.guards import DeletionGuard
from sira_grpc.registry.lease_key import LeaseKey
from sira_grpc.registry.leases import LeaseTable
from sira_grpc.registry.registration import Registration, check_distinct
from sira_grpc.registry.view import RegistryView
from sira_grpc.rules import check_rules
from sira_grpc.store.api import Delete, Op, Put
from sira_grpc.times import duration, timestamp

WRITABLE = ("addresses", "port", "locality", "weight", "metadata", "tags", "version", "health_check")
REMOVED_AT_ONCE = 250
"""Endpoints that are removed in one commit, at most: three operations each, and some to spare."""


@dataclass(frozen=True, slots=True)
class Registered:
    """What a registration made: the lease's id, its key if it is new, and the revision."""

    lease: str
    lease_key: str
    revision: int


class Registrar:
    """The commands on endpoints. Each is atomic unless it says otherwise."""

    def __init__(
        self,
        view: RegistryView,
        commits: Commits,
        leases: LeaseTable,
        guard: DeletionGuard,
        events: EventLog,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._view = view
        self._commits = commits
        self._leases = leases
        self._guard = guard
        self._events = events
        self._clock = clock
        self._random_bytes = random_bytes

    async def register_under_new_lease(
        self, endpoints: Sequence[Endpoint], *, ttl: float, allow_missing_service: bool, actor: str
    ) -> Registered:
        """Makes a lease of ttl seconds and registers endpoints, maybe none, under it: all or nothing.

        Raises: as register().
        """
        check_distinct(endpoints)
        key = LeaseKey.make(self._random_bytes)
        record = LeaseRecord(
            ttl=duration(ttl),
            secret_sha256=key.secret_sha256,
            owner=actor,
            create_time=timestamp(self._clock.time_ns()),
            member=self._leases.member,
        )
        batch = Registration(endpoints, key.id, allow_missing_service=allow_missing_service, new_lease=record)
        # Before the commit: should its outcome stay unknown, the lease, if it came to be, must still run out.
        self._leases.created(key.id, ttl)
        revision = await self._commits.run(self._register_new(batch, actor))
        return Registered(key.id, str(key), revision)

    async def _register_new(self, batch: Registration, actor: str) -> int:
        try:
            return await self._register(batch, actor)
        except SiraError:
            # Nothing was written; or nobody knows: if it comes to be, the view tells, and its TTL begins then.
            self._leases.forget(batch.lease)
            if batch.lease in self._view.leases:
                self._leases.settle(self._view.leases[batch.lease])
            raise

    async def register(
        self, endpoints: Sequence[Endpoint], *, lease_key: str, allow_missing_service: bool, actor: str
    ) -> Registered:
        """Registers endpoints under a lease: all or nothing. What is registered so already is left alone.

        Raises:
            InvalidField: two endpoints have one name.
            LeaseNotFound, LeaseNotYours: the key does not open a lease.
            NamespaceNotFound, ServiceNotFound: unless allow_missing_service, which creates services.
            EndpointHeld: another lease that is not suspect holds one of them.
            EtagMismatch: an endpoint has an etag that is not the stored one.
        """
        check_distinct(endpoints)
        lease = (await self._commits.sure(lambda: self._leases.open(lease_key))).id
        batch = Registration(endpoints, lease, allow_missing_service=allow_missing_service)
        return Registered(lease, "", await self._commits.run(self._register(batch, actor)))

    async def _register(self, batch: Registration, actor: str) -> int:
        def plan() -> list[Op]:
            return batch.plan(self._view, self._leases, timestamp(self._clock.time_ns()))

        with self._leases.writing(batch.lease), self._guard.using(batch.uses()):
            revision = await self._commits.apply(plan)
        for kind, cause, found in (
            (EventType.EVENT_TYPE_CREATED, "created with its first endpoint", batch.services),
            (EventType.EVENT_TYPE_CREATED, "registered", batch.created),
            (EventType.EVENT_TYPE_UPDATED, "registered again", batch.updated),
        ):
            for name in found:
                self._events.record(kind, name, cause, revision=revision, actor=actor)
        return revision

    async def update(self, endpoint: Endpoint, mask: FieldMask, *, actor: str) -> EndpointEntry:
        """Writes the masked fields of an endpoint.

        Raises:
            EndpointNotFound and the like, EtagMismatch, InvalidFieldMask, InvalidField: of what the endpoint would be.
        """
        message = Endpoint()

        def plan() -> list[Op]:
            entry = self._view.endpoint(endpoint.name)
            check_etag(endpoint.etag, entry.revision, endpoint.name)
            message.CopyFrom(entry.message)
            message.ClearField("status")
            message.ClearField("etag")
            overwrite(message, endpoint, mask, WRITABLE)
            check_rules(message, within="endpoint")
            message.update_time.CopyFrom(timestamp(self._clock.time_ns()))
            key = names.ENDPOINTS + names.endpoint_path(endpoint.name)
            return [Put(key, message.SerializeToString(), entry.revision)]

        revision = await self._commits.run(self._commits.apply(plan))
        self._events.record(EventType.EVENT_TYPE_UPDATED, endpoint.name, "updated", revision=revision, actor=actor)
        return self._written(message, revision)

    def _written(self, endpoint: Endpoint, revision: int) -> EndpointEntry:
        """Returns an endpoint as a command has left it, whoever has written it since, or deleted it."""
        lease = endpoint.lease.rpartition("/")[2]
        entry = self._view.find_endpoint(endpoint.name) or EndpointEntry(endpoint, lease, revision)
        written = replace(entry, message=with_etag(endpoint, revision), lease=lease, revision=revision)
        written.refresh(suspect=entry.message.status.suspect)
        return written

    async def deregister(self, endpoints: Iterable[str], *, lease_key: str, actor: str) -> int:
        """Removes endpoints that live under a lease, all or none; returns the revision.

        Raises:
            EndpointNotFound, LeaseNotFound, LeaseNotYours. Nothing is removed then.
        """
        lease = (await self._commits.sure(lambda: self._leases.open(lease_key))).id
        wanted = tuple(dict.fromkeys(endpoints))

        def plan() -> list[Op]:
            removals = [removal(self.check_under(name, lease)) for name in wanted]
            # The endpoints in one commit. Records that do not fit are orphans then, which the next sweep removes.
            return [ops[0] for ops in removals] + [op for ops in removals for op in ops[1:]][
                : MAX_CHANGES - len(wanted)
            ]

        revision = await self._commits.run(self._commits.apply(plan))
        for name in wanted:
            self._events.record(EventType.EVENT_TYPE_DELETED, name, "deregistered", revision=revision, actor=actor)
        return revision

    def check_under(self, endpoint: str, lease: str) -> EndpointEntry:
        """Returns an endpoint that lives under a lease.

        Raises:
            EndpointNotFound and the like, LeaseNotYours: it lives under another one.
        """
        entry = self._view.endpoint(endpoint)
        if entry.lease != lease:
            raise LeaseNotYours(
                f"{endpoint} lives under another lease", metadata={"resource": endpoint, "lease": entry.message.lease}
            )
        return entry

    async def surely_under(self, endpoint: str, lease: str) -> EndpointEntry:
        """Does as check_under, but refuses only what the store refuses too."""
        return await self._commits.sure(lambda: self.check_under(endpoint, lease))

    async def delete(self, name: str, *, etag: str, actor: str) -> int:
        """Removes an endpoint whoever holds its lease; returns the revision.

        Raises:
            EndpointNotFound and the like, EtagMismatch.
        """

        def plan() -> list[Op]:
            entry = self._view.endpoint(name)
            check_etag(etag, entry.revision, name)
            return removal(entry)

        revision = await self._commits.run(self._commits.apply(plan))
        self._events.record(EventType.EVENT_TYPE_DELETED, name, "deleted", revision=revision, actor=actor)
        return revision

    async def remove(
        self,
        endpoints: Iterable[str],
        cause: str,
        *,
        actor: str = "",
        kind: EventType.ValueType = EventType.EVENT_TYPE_DELETED,
        belongs: Callable[[EndpointEntry], bool],
        first: Callable[[], Sequence[Op]] = tuple,
        then: Callable[[], Sequence[Op]] = tuple,
    ) -> int:
        """Removes endpoints with their records; does `first`, 250 operations at most, with the first of them, and
        `then`, as many, with the last.

        More than fit into one commit go in several, each endpoint whole. One that is gone when its turn comes, or does
        not belong any more because somebody else took it over, is left alone. Returns the revision.
        A plan that is made again, as others wrote, asks `first` again, and then `belongs`.
        """
        entries = [e for e in map(self._view.find_endpoint, endpoints) if e is not None]
        gone: list[EndpointEntry] = []
        start = 0
        while True:
            chunk = entries[start : start + REMOVED_AT_ONCE]
            before = first if start == 0 else tuple
            start += REMOVED_AT_ONCE
            after = then if start >= len(entries) else tuple

            def plan(
                chunk: Sequence[EndpointEntry] = chunk,
                before: Callable[[], Sequence[Op]] = before,
                after: Callable[[], Sequence[Op]] = after,
            ) -> list[Op]:
                begun = before()
                gone[:] = [e for e in chunk if self._view.find_endpoint(e.message.name) is e and belongs(e)]
                return [*(op for e in gone for op in removal(e)), *begun, *after()]

            revision = await self._commits.apply(plan)
            for entry in gone:
                self._events.record(kind, entry.message.name, cause, revision=revision, actor=actor)
            if start >= len(entries):
                return revision


def removal(entry: EndpointEntry) -> list[Op]:
    """Returns the operations that remove an endpoint as it is now, and the records about it."""
    path = names.endpoint_path(entry.message.name)
    ops: list[Op] = [Delete(names.ENDPOINTS + path, entry.revision)]
    if entry.health_revision:
        ops.append(Delete(names.HEALTH + path))
    if entry.drain_revision:
        ops.append(Delete(names.DRAINS + path))
    return ops
