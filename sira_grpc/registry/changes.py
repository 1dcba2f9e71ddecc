"""Applies what was written to the store to the resources in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from sira.registry.internal.v1.drain_record_pb2 import DrainRecord
from sira.registry.internal.v1.health_record_pb2 import HealthRecord
from sira.registry.internal.v1.lease_record_pb2 import LeaseRecord
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.service_pb2 import Service

from sira_grpc.registry import names
from sira_grpc.registry.entries import SERVICE_ITEM, EndpointEntry, LeaseEntry, NamespaceEntry, ServiceEntry
from sira_grpc.registry.resources import Resources
from sira_grpc.store.api import Change
from sira_grpc.watch import ChangeFeed


@dataclass(slots=True)
class ViewHooks:
    """Called as changes are applied, on the event loop, in the order of registration; they must not block.

    endpoint_written: an endpoint's registration is new, or changed.
    endpoint_gone: an endpoint was deleted; its name.
    health_written: the health record of an endpoint was written.
    lease_written: a lease is new, or changed.
    lease_suspect: a lease has become suspect.
    lease_gone: a lease was deleted; its id.
    applied: a commit is about to be applied, of whichever subsystem.
    services_changed: of some services something has changed, or they are gone; their names, once a commit.
    """

    endpoint_written: list[Callable[[EndpointEntry], None]] = field(default_factory=list)
    endpoint_gone: list[Callable[[str], None]] = field(default_factory=list)
    health_written: list[Callable[[EndpointEntry], None]] = field(default_factory=list)
    lease_written: list[Callable[[LeaseEntry], None]] = field(default_factory=list)
    lease_suspect: list[Callable[[LeaseEntry], None]] = field(default_factory=list)
    lease_gone: list[Callable[[str], None]] = field(default_factory=list)
    applied: list[Callable[[], None]] = field(default_factory=list)
    services_changed: list[Callable[[Collection[str]], None]] = field(default_factory=list)


class ChangeApplier:
    """Keeps resources in line with the store, change by change, and calls the hooks.

    Attributes:
        gone: names of the services that the last changes deleted.
    """

    def __init__(self, resources: Resources, hooks: ViewHooks) -> None:
        self._resources = resources
        self._hooks = hooks
        self._live = False
        self.gone: set[str] = set()
        self._appliers: dict[str, Callable[[str, Change, set[ServiceEntry]], None]] = {
            "namespaces": self._apply_namespace,
            "services": self._apply_service,
            "endpoints": self._apply_endpoint,
            "health": self._apply_health,
            "drains": self._apply_drain,
            "leases": self._apply_lease,
        }

    def apply(self, changes: Iterable[Change], *, live: bool) -> set[ServiceEntry]:
        """Applies changes in their order and returns the services they touched. Those of a snapshot are not live."""
        self._live = live
        self.gone.clear()
        touched: set[ServiceEntry] = set()
        for change in changes:
            if not change.key.startswith(names.PREFIX):
                continue
            _, kind, path = change.key.split("/", 2)
            apply = self._appliers.get(kind)
            if apply is not None:  # a newer member may write kinds that this one does not know
                apply(path, change, touched)
        return touched

    def _apply_namespace(self, path: str, change: Change, touched: set[ServiceEntry]) -> None:
        name = names.name_of_path(path)
        if change.value is None:
            gone = self._resources.namespaces.pop(name, None)
            for service in gone.services if gone is not None else ():  # another member created it meanwhile
                self._resources.orphans[names.service_key(service)] = self._resources.services[service].revision
            return
        message = Namespace.FromString(change.value)
        message.etag = str(change.revision)
        entry = self._resources.namespaces.get(name)
        if entry is None:
            services = self._take_in(names.SERVICES + path + "/")
            self._resources.namespaces[name] = NamespaceEntry(message, change.revision, services)
        else:
            entry.message, entry.revision = message, change.revision

    def _take_in(self, prefix: str) -> set[str]:
        """Returns the names of the services below a prefix that had no namespace until now."""
        keys = [key for key in self._resources.orphans if key.startswith(prefix)]
        for key in keys:
            del self._resources.orphans[key]
        return {names.name_of_path(key.removeprefix(names.SERVICES)) for key in keys}

    def _apply_service(self, path: str, change: Change, touched: set[ServiceEntry]) -> None:
        name = names.name_of_path(path)
        entry = self._resources.services.get(name)
        namespace = self._resources.namespaces.get(names.namespace_of(name))
        if change.value is None:
            if entry is not None:
                for endpoint_name, endpoint in tuple(entry.endpoints.items()):
                    self._remove_endpoint(entry, endpoint_name, endpoint, change.revision)
                    self._resources.orphans[_endpoint_key(endpoint_name)] = endpoint.revision
                del self._resources.services[name]
                self.gone.add(name)
                entry.feed.close()
                touched.discard(entry)
            if namespace is not None:
                namespace.services.discard(name)
            self._resources.orphans.pop(change.key, None)
            return
        message = Service.FromString(change.value)
        message.etag = str(change.revision)
        if entry is None:
            # Live, who resumes from before the creation saw another service of that name: it must begin anew. In a
            # snapshot the revision is that of the last write, and the deleted endpoints are known.
            compacted = change.revision - 1 if self._live else 0
            feed = ChangeFeed(compacted=compacted, revision=change.revision)
            entry = self._resources.services[name] = ServiceEntry(message, change.revision, feed)
        else:
            entry.message, entry.revision = message, change.revision
        if namespace is not None:
            namespace.services.add(name)
            self._resources.orphans.pop(change.key, None)
        else:
            self._orphan(change)
        entry.feed.touch(SERVICE_ITEM, change.revision)
        touched.add(entry)

    def _apply_endpoint(self, path: str, change: Change, touched: set[ServiceEntry]) -> None:
        name = names.name_of_path(path)
        service = self._resources.services.get(names.service_of(name))
        if service is None:
            self._orphan(change)
            return
        entry = service.endpoints.get(name)
        if change.value is None:
            if entry is not None:
                self._remove_endpoint(service, name, entry, change.revision)
                touched.add(service)
            self._resources.orphans.pop(change.key, None)
            return
        message = Endpoint.FromString(change.value)
        message.etag = str(change.revision)
        lease = message.lease.rpartition("/")[2]
        if entry is None:
            entry = service.endpoints[name] = EndpointEntry(message, lease, change.revision)
            # Records of an earlier endpoint of that name are void, but there: who writes them must know.
            entry.health_revision = self._resources.orphans.get(names.HEALTH + path, 0)
            entry.drain_revision = self._resources.orphans.get(names.DRAINS + path, 0)
        else:
            self._unlink(entry)
            service.healthy -= entry.healthy
            entry.message, entry.lease, entry.revision = message, lease, change.revision
        held = self._resources.leases.get(lease)
        revision = change.revision
        if held is not None:
            held.endpoints.add(name)
            revision = max(revision, held.revision)  # in a snapshot, the lease may have become suspect later
            self._resources.orphans.pop(change.key, None)
        else:
            self._resources.orphans[change.key] = change.revision  # nothing would ever let it expire
        entry.refresh(suspect=held is not None and held.suspect)
        service.healthy += entry.healthy
        service.feed.touch(name, revision)
        touched.add(service)
        for hook in self._hooks.endpoint_written:
            hook(entry)

    def _remove_endpoint(self, service: ServiceEntry, name: str, entry: EndpointEntry, revision: int) -> None:
        del service.endpoints[name]
        service.healthy -= entry.healthy
        self._unlink(entry)
        path = names.endpoint_path(name)
        if entry.health_revision:
            self._resources.orphans[names.HEALTH + path] = entry.health_revision
        if entry.drain_revision:
            self._resources.orphans[names.DRAINS + path] = entry.drain_revision
        service.feed.bury(name, revision)
        for hook in self._hooks.endpoint_gone:
            hook(name)

    def _unlink(self, entry: EndpointEntry) -> None:
        held = self._resources.leases.get(entry.lease)
        if held is not None:
            held.endpoints.discard(entry.message.name)

    def _apply_health(self, path: str, change: Change, touched: set[ServiceEntry]) -> None:
        entry = self._record_owner(path, change)
        if entry is not None:
            entry.health = None if change.value is None else HealthRecord.FromString(change.value)
            entry.health_revision = 0 if change.value is None else change.revision
            self._status_changed(entry, change.revision, touched)
            for hook in self._hooks.health_written:
                hook(entry)

    def _apply_drain(self, path: str, change: Change, touched: set[ServiceEntry]) -> None:
        entry = self._record_owner(path, change)
        if entry is not None:
            entry.drain = None if change.value is None else DrainRecord.FromString(change.value)
            entry.drain_revision = 0 if change.value is None else change.revision
            self._status_changed(entry, change.revision, touched)

    def _record_owner(self, path: str, change: Change) -> EndpointEntry | None:
        entry = self._resources.find_endpoint(names.name_of_path(path))
        if entry is None:
            self._orphan(change)
        else:
            self._resources.orphans.pop(change.key, None)
        return entry

    def _orphan(self, change: Change) -> None:
        if change.value is None:
            self._resources.orphans.pop(change.key, None)
        else:
            self._resources.orphans[change.key] = change.revision

    def _status_changed(self, entry: EndpointEntry, revision: int, touched: set[ServiceEntry]) -> None:
        held = self._resources.leases.get(entry.lease)
        name = entry.message.name
        service = self._resources.services[names.service_of(name)]
        service.healthy -= entry.healthy
        entry.refresh(suspect=held is not None and held.suspect)
        service.healthy += entry.healthy
        service.feed.touch(name, revision)
        touched.add(service)

    def _apply_lease(self, path: str, change: Change, touched: set[ServiceEntry]) -> None:
        entry = self._resources.leases.get(path)
        if change.value is None:
            if entry is not None:
                self._remove_lease(entry, change.revision, touched)
            return
        record = LeaseRecord.FromString(change.value)
        was_suspect = entry is not None and entry.suspect
        if entry is None:
            entry = self._resources.leases[path] = LeaseEntry(path, record, change.revision)
        else:
            entry.record, entry.revision = record, change.revision
        (self._resources.suspects.add if entry.suspect else self._resources.suspects.discard)(path)
        if entry.suspect != was_suspect:
            self._lease_changed(entry, change.revision, touched)
        for hook in self._hooks.lease_written:
            hook(entry)
        if entry.suspect and not was_suspect:
            for hook in self._hooks.lease_suspect:
                hook(entry)

    def _remove_lease(self, entry: LeaseEntry, revision: int, touched: set[ServiceEntry]) -> None:
        del self._resources.leases[entry.id]
        self._resources.suspects.discard(entry.id)
        for endpoint in self._lease_changed(entry, revision, touched):
            self._resources.orphans[_endpoint_key(endpoint.message.name)] = endpoint.revision
        for hook in self._hooks.lease_gone:
            hook(entry.id)

    def _lease_changed(self, entry: LeaseEntry, revision: int, touched: set[ServiceEntry]) -> list[EndpointEntry]:
        """Works out anew what hangs on a lease, and returns it."""
        endpoints = [e for e in map(self._resources.find_endpoint, entry.endpoints) if e is not None]
        for endpoint in endpoints:
            self._status_changed(endpoint, revision, touched)
        return endpoints


def _endpoint_key(name: str) -> str:
    return names.ENDPOINTS + names.endpoint_path(name)
