"""The commands on namespaces and services."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1.event_pb2 import EventType
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.service_pb2 import Service

from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.errors import AlreadyExists, NotEmpty, ServiceNotFound
from sira_grpc.etags import check_etag, with_etag
from sira_grpc.field_masks import overwrite
from sira_grpc.registry import names
from sira_grpc.registry.entries import NamespaceEntry, ServiceEntry
from sira_grpc.registry.events import EventLog
from sira_grpc.registry.guards import DeletionGuard
from sira_grpc.registry.policy_checks import check_access, check_destinations, check_unreferred
from sira_grpc.registry.registrar import Registrar
from sira_grpc.registry.tenants import Tenant
from sira_grpc.registry.view import RegistryView
from sira_grpc.rules import check_rules
from sira_grpc.store.api import ABSENT, Check, Delete, Op, Put
from sira_grpc.times import timestamp
from sira_grpc.watch import ChangeFeed

NAMESPACE_WRITABLE = ("description", "metadata")
SERVICE_WRITABLE = ("description", "metadata", "traffic_policy", "access_policy")


class Catalog:
    """Creates, changes and deletes namespaces and services.

    Attributes:
        tenants: who else has something in namespaces.
        policy_checks: refuse services, by raising, before they are written; called with the view as it is.
    """

    def __init__(
        self,
        view: RegistryView,
        commits: Commits,
        registrar: Registrar,
        guard: DeletionGuard,
        events: EventLog,
        clock: Clock,
    ) -> None:
        self.tenants: list[Tenant] = []
        self.policy_checks: list[Callable[[Service], None]] = []
        self._view = view
        self._commits = commits
        self._registrar = registrar
        self._guard = guard
        self._events = events
        self._clock = clock

    async def create_namespace(self, namespace: Namespace, *, actor: str) -> NamespaceEntry:
        """Creates a namespace.

        Raises:
            AlreadyExists.
        """
        name, message = namespace.name, Namespace()

        def plan() -> list[Op]:
            if name in self._view.namespaces:
                raise AlreadyExists(f"{name} is there already", metadata={"resource": name})
            message.CopyFrom(namespace)
            return [Put(names.namespace_key(name), self._stamped(message), ABSENT)]

        revision = await self._commits.run(self._commits.apply(plan))
        self._events.record(EventType.EVENT_TYPE_CREATED, name, "created", revision=revision, actor=actor)
        return NamespaceEntry(with_etag(message, revision), revision)

    async def create_service(self, service: Service, *, actor: str) -> ServiceEntry:
        """Creates a service in a namespace that exists.

        Raises:
            AlreadyExists, NamespaceNotFound.
        """
        name, message = service.name, Service()
        namespace = names.namespace_of(name)

        def plan() -> list[Op]:
            if name in self._view.services:
                raise AlreadyExists(f"{name} is there already", metadata={"resource": name})
            within = Check(names.namespace_key(namespace), self._view.namespace(namespace).revision)
            message.CopyFrom(service)
            message.ClearField("status")
            self._check_policy(message)
            return [Put(names.service_key(name), self._stamped(message), ABSENT), within]

        async def create() -> int:
            with self._guard.using((namespace,)):
                return await self._commits.apply(plan)

        revision = await self._commits.run(create())
        self._events.record(EventType.EVENT_TYPE_CREATED, name, "created", revision=revision, actor=actor)
        return self._written(message, revision)

    def _written(self, service: Service, revision: int) -> ServiceEntry:
        """Returns a service as a command has left it, whoever has written it since, or deleted it."""
        entry = self._view.services.get(service.name)
        if entry is None:
            feed = ChangeFeed(compacted=revision, revision=revision)
            return ServiceEntry(with_etag(service, revision), revision, feed)
        return replace(entry, message=with_etag(service, revision), revision=revision)

    def _stamped(self, message: Namespace | Service) -> bytes:
        now = timestamp(self._clock.time_ns())
        message.ClearField("etag")
        message.create_time.CopyFrom(now)
        message.update_time.CopyFrom(now)
        return message.SerializeToString()

    async def update_namespace(self, namespace: Namespace, mask: FieldMask, *, actor: str) -> NamespaceEntry:
        """Writes the masked fields of a namespace.

        Raises:
            NamespaceNotFound, EtagMismatch, InvalidFieldMask.
        """
        name, message = namespace.name, Namespace()

        def plan() -> list[Op]:
            entry = self._view.namespace(name)
            check_etag(namespace.etag, entry.revision, name)
            message.CopyFrom(entry.message)
            overwrite(message, namespace, mask, NAMESPACE_WRITABLE)
            return [Put(names.namespace_key(name), self._restamped(message), entry.revision)]

        revision = await self._commits.run(self._commits.apply(plan))
        self._events.record(EventType.EVENT_TYPE_UPDATED, name, "updated", revision=revision, actor=actor)
        return NamespaceEntry(with_etag(message, revision), revision)

    async def update_service(self, service: Service, mask: FieldMask, *, actor: str) -> ServiceEntry:
        """Writes the masked fields of a service.

        Raises:
            ServiceNotFound and the like, EtagMismatch, InvalidFieldMask.
        """
        name, message = service.name, Service()

        def plan() -> list[Op]:
            entry = self._view.service(name)
            check_etag(service.etag, entry.revision, name)
            message.CopyFrom(entry.message)
            overwrite(message, service, mask, SERVICE_WRITABLE)
            check_rules(message, within="service")  # a mask may take half of what is right as a whole only
            if _policies(message) != _policies(entry.message):  # what it led to may be gone by now
                self._check_policy(message)
            return [Put(names.service_key(name), self._restamped(message), entry.revision)]

        revision = await self._commits.run(self._commits.apply(plan))
        self._events.record(EventType.EVENT_TYPE_UPDATED, name, "updated", revision=revision, actor=actor)
        return self._written(message, revision)

    def _check_policy(self, service: Service) -> None:
        check_access(service)
        check_destinations(service, self._view)
        for check in self.policy_checks:
            check(service)

    def _restamped(self, message: Namespace | Service) -> bytes:
        message.ClearField("etag")
        message.update_time.CopyFrom(timestamp(self._clock.time_ns()))
        return message.SerializeToString()

    async def delete_service(self, name: str, *, etag: str, force: bool, actor: str) -> int:
        """Deletes a service and, with force, its endpoints; returns the revision.

        Raises:
            ServiceNotFound and the like, EtagMismatch, NotEmpty.
        """
        await self._commits.sure(lambda: self._view.service(name))
        return await self._commits.run(self._delete_service(name, etag, force=force, actor=actor))

    async def _delete_service(self, name: str, etag: str, *, force: bool, actor: str) -> int:
        async with self._guard.deleting(name):

            def checked() -> ServiceEntry:
                entry = self._view.service(name)
                check_etag(etag, entry.revision, name)
                return entry

            endpoints = tuple((await self._commits.sure(checked)).endpoints)
            if endpoints and not force:
                raise NotEmpty(
                    f"{name} has {len(endpoints)} endpoints; delete with force to remove them too",
                    metadata={"resource": name},
                )
            if not force:
                check_unreferred(name, self._view)
            revision = await self._registrar.remove(
                endpoints,
                "its service was deleted",
                actor=actor,
                belongs=lambda endpoint: True,
                then=lambda: [Delete(names.service_key(name), checked().revision)],
            )
        self._events.record(EventType.EVENT_TYPE_DELETED, name, "deleted", revision=revision, actor=actor)
        return revision

    async def delete_namespace(self, name: str, *, etag: str, force: bool, actor: str) -> int:
        """Deletes a namespace and, with force, what is in it; returns the revision.

        Raises:
            NamespaceNotFound, EtagMismatch, NotEmpty.
        """
        await self._commits.sure(lambda: self._view.namespace(name))
        return await self._commits.run(self._delete_namespace(name, etag, force=force, actor=actor))

    async def _delete_namespace(self, name: str, etag: str, *, force: bool, actor: str) -> int:
        async with self._guard.deleting(name):

            def checked() -> NamespaceEntry:
                entry = self._view.namespace(name)
                check_etag(etag, entry.revision, name)
                return entry

            services = tuple((await self._commits.sure(checked)).services)
            held = [f"{len(services)} services"] if services else []
            held += filter(None, (tenant.holds(name) for tenant in self.tenants))
            if held and not force:
                raise NotEmpty(
                    f"{name} has {', '.join(held)}; delete with force to remove them too", metadata={"resource": name}
                )
            for tenant in self.tenants:
                await tenant.clear(name)
            for service in services:
                with suppress(ServiceNotFound):  # somebody else deletes it too
                    await self._delete_service(service, "", force=True, actor=actor)
            revision = await self._commits.apply(lambda: [Delete(names.namespace_key(name), checked().revision)])
        self._events.record(EventType.EVENT_TYPE_DELETED, name, "deleted", revision=revision, actor=actor)
        return revision


def _policies(service: Service) -> tuple[object, ...]:
    return service.traffic_policy, service.HasField("access_policy"), service.access_policy
