"""Registering, changing and removing endpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.internal.v1.lease_record_pb2 import LeaseRecord
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.event_pb2 import EventType
from sira.registry.v1.service_pb2 import Service

from sira_grpc.clock import Clock
from sira_grpc.errors import (
    EndpointHeld,
    EndpointNotFound,
    FieldViolation,
    InvalidField,
    LeaseNotFound,
    LeaseNotYours,
    ServiceNotFound,
)
from sira_grpc.registry import names
from sira_grpc.registry.commits import Commits, in_chunks
from sira_grpc.registry.entries import EndpointEntry
from sira_grpc.registry.etags import check_etag
from sira_grpc.registry.events import EventLog
from sira_grpc.registry.field_masks import overwrite
from sira_grpc.registry.guards import DeletionGuard
from sira_grpc.registry.lease_key import LeaseKey
from sira_grpc.registry.leases import LeaseTable
from sira_grpc.registry.times import duration, timestamp
from sira_grpc.registry.view import RegistryView
from sira_grpc.rules import check_rules
from sira_grpc.store.api import ABSENT, MAX_OPS, Delete, Op, Put

WRITABLE = ("addresses", "port", "locality", "weight", "metadata", "tags", "version", "health_check")


@dataclass(frozen=True, slots=True)
class Registered:
    """What a registration made: the lease's id, its key if it is new, and the revision."""

    lease: str
    lease_key: str
    revision: int


@dataclass(slots=True)
class _Batch:
    """One registration on its way into the store."""

    endpoints: Sequence[Endpoint]
    lease: str
    allow_missing_service: bool
    actor: str
    new_lease: LeaseRecord | None = None
    created: list[str] | None = None
    updated: list[str] | None = None


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
        self._check_distinct(endpoints)
        key = LeaseKey.make(self._random_bytes)
        record = LeaseRecord(
            ttl=duration(ttl),
            secret_sha256=key.secret_sha256,
            owner=actor,
            create_time=timestamp(self._clock.time_ns()),
        )
        batch = _Batch(endpoints, key.id, allow_missing_service, actor, new_lease=record)
        # Before the commit: should its outcome stay unknown, the lease, if it came to be, must still run out.
        self._leases.created(key.id, ttl)
        revision = await self._commits.run(self._register(batch))
        return Registered(key.id, str(key), revision)

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
        self._check_distinct(endpoints)
        lease = self._leases.open(lease_key).id
        batch = _Batch(endpoints, lease, allow_missing_service, actor)
        return Registered(lease, "", await self._commits.run(self._register(batch)))

    async def _register(self, batch: _Batch) -> int:
        used = dict.fromkeys(names.service_of(e.name) for e in batch.endpoints)
        used.update(dict.fromkeys(names.namespace_of(s) for s in tuple(used)))
        tenure = self._leases[batch.lease]
        tenure.writers += 1
        try:
            with self._guard.using(used):
                revision = await self._commits.apply(lambda: self._plan(batch))
        finally:
            tenure.writers -= 1
        for name in batch.created or ():
            self._events.record(EventType.EVENT_TYPE_CREATED, name, "registered", revision=revision, actor=batch.actor)
        for name in batch.updated or ():
            self._events.record(
                EventType.EVENT_TYPE_UPDATED, name, "registered again", revision=revision, actor=batch.actor
            )
        return revision

    def _plan(self, batch: _Batch) -> list[Op]:
        now = timestamp(self._clock.time_ns())
        ops: list[Op] = []
        if batch.new_lease is not None:
            ops.append(Put(names.LEASES + batch.lease, batch.new_lease.SerializeToString(), ABSENT))
        elif batch.lease not in self._view.leases:
            raise LeaseNotFound("lease_key: the lease is gone", metadata={"lease": names.lease_name(batch.lease)})
        batch.created, batch.updated = [], []
        missing: dict[str, None] = {}
        for endpoint in batch.endpoints:
            service = names.service_of(endpoint.name)
            entry = None
            if service not in missing:
                entry = self._existing(endpoint, service, batch, missing)
            message = self._stored(endpoint, batch.lease, entry)
            if entry is not None and message == self._comparable(entry):
                continue
            message.update_time.CopyFrom(now)
            if not message.HasField("create_time"):
                message.create_time.CopyFrom(now)
            key = names.ENDPOINTS + names.endpoint_path(endpoint.name)
            ops.append(Put(key, message.SerializeToString(), entry.revision if entry else ABSENT))
            (batch.updated if entry else batch.created).append(endpoint.name)
        # A view applies the operations in their order: what the endpoints hang on comes first.
        services: list[Op] = [
            Put(names.service_key(n), Service(name=n, create_time=now, update_time=now).SerializeToString(), ABSENT)
            for n in missing
        ]
        return services + ops

    def _existing(
        self, endpoint: Endpoint, service: str, batch: _Batch, missing: dict[str, None]
    ) -> EndpointEntry | None:
        try:
            entry = self._view.service(service).endpoints.get(endpoint.name)
        except ServiceNotFound:
            if not batch.allow_missing_service:
                raise
            missing[service] = None
            return None
        check_etag(endpoint.etag, entry.revision if entry else 0, endpoint.name)
        if entry is not None and entry.lease != batch.lease:
            holder = self._view.leases.get(entry.lease)
            if holder is not None and not holder.suspect:
                raise EndpointHeld(
                    f"{endpoint.name} lives under another lease, {names.lease_name(holder.id)}; it can be taken over "
                    "when that lease is suspect, revoked or expired",
                    metadata={"resource": endpoint.name, "lease": names.lease_name(holder.id)},
                )
        return entry

    @staticmethod
    def _stored(endpoint: Endpoint, lease: str, entry: EndpointEntry | None) -> Endpoint:
        message = Endpoint()
        message.CopyFrom(endpoint)
        for output_only in ("status", "etag", "create_time", "update_time"):
            message.ClearField(output_only)
        message.lease = names.lease_name(lease)
        if entry is not None and entry.lease == lease:
            message.create_time.CopyFrom(entry.message.create_time)
        return message

    @staticmethod
    def _comparable(entry: EndpointEntry) -> Endpoint:
        message = Endpoint()
        message.CopyFrom(entry.message)
        for output_only in ("status", "etag", "update_time"):
            message.ClearField(output_only)
        return message

    @staticmethod
    def _check_distinct(endpoints: Sequence[Endpoint]) -> None:
        seen: dict[str, int] = {}
        for i, endpoint in enumerate(endpoints):
            first = seen.setdefault(endpoint.name, i)
            if first != i:
                raise InvalidField([FieldViolation(f"endpoints[{i}].name", f"must not repeat endpoints[{first}].name")])

    async def update(self, endpoint: Endpoint, mask: FieldMask, *, actor: str) -> EndpointEntry:
        """Writes the masked fields of an endpoint.

        Raises:
            EndpointNotFound and the like, EtagMismatch, InvalidFieldMask, InvalidField: of what the endpoint would be.
        """

        def plan() -> list[Op]:
            entry = self._view.endpoint(endpoint.name)
            check_etag(endpoint.etag, entry.revision, endpoint.name)
            message = Endpoint()
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
        return self._view.endpoint(endpoint.name)

    async def deregister(self, endpoints: Iterable[str], *, lease_key: str, actor: str) -> int:
        """Removes endpoints that live under a lease, all or none; returns the revision.

        Raises:
            EndpointNotFound, LeaseNotFound, LeaseNotYours. Nothing is removed then.
        """
        lease = self._leases.open(lease_key).id
        wanted = tuple(dict.fromkeys(endpoints))
        for name in wanted:
            self.check_under(name, lease)
        return await self._commits.run(self.remove(wanted, "deregistered", actor=actor))

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

    async def delete(self, name: str, *, etag: str, actor: str) -> int:
        """Removes an endpoint whoever holds its lease; returns the revision.

        Raises:
            EndpointNotFound and the like, EtagMismatch.
        """
        entry = self._view.endpoint(name)
        check_etag(etag, entry.revision, name)
        revision = await self._commits.run(self.remove((name,), "deleted", actor=actor))
        if not revision:
            raise EndpointNotFound(f"{name} is not there", metadata={"resource": name})
        return revision

    async def remove(
        self,
        endpoints: Iterable[str],
        cause: str,
        *,
        actor: str = "",
        kind: EventType.ValueType = EventType.EVENT_TYPE_DELETED,
        then: Sequence[Op] = (),
    ) -> int:
        """Removes endpoints with their records, whatever is still there of them, and does `then` with the last ones.

        More than fit into one commit go in several, each endpoint whole. Returns the revision, 0 if there was nothing.
        """
        entries = [e for e in map(self._view.find_endpoint, endpoints) if e is not None]
        groups: list[Sequence[Op]] = [removal(entry) for entry in entries]
        if then:
            groups.append(then)
        revision = await in_chunks(lambda ops: self._commits.apply(lambda: ops), groups, MAX_OPS)
        for entry in entries:
            self._events.record(kind, entry.message.name, cause, revision=revision, actor=actor)
        return revision


def removal(entry: EndpointEntry) -> list[Op]:
    """Returns the operations that remove an endpoint and the records about it."""
    path = names.endpoint_path(entry.message.name)
    ops: list[Op] = [Delete(names.ENDPOINTS + path)]
    if entry.health_revision:
        ops.append(Delete(names.HEALTH + path))
    if entry.drain_revision:
        ops.append(Delete(names.DRAINS + path))
    return ops
