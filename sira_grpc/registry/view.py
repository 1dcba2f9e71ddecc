"""The registry as this member sees it: an image of the store in memory, from which every read is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sira.registry.internal.v1.drain_record_pb2 import DrainRecord
from sira.registry.internal.v1.health_record_pb2 import HealthRecord
from sira.registry.internal.v1.lease_record_pb2 import LeaseRecord
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.service_pb2 import Service

from sira_grpc.clock import Clock
from sira_grpc.errors import EndpointNotFound, LeaseNotFound, NamespaceNotFound, ServiceNotFound
from sira_grpc.registry import names
from sira_grpc.registry.entries import SERVICE_ITEM, EndpointEntry, LeaseEntry, NamespaceEntry, ServiceEntry
from sira_grpc.registry.progress import Progress
from sira_grpc.store.api import Change, Commit, Snapshot
from sira_grpc.watch import ChangeFeed


@dataclass(slots=True)
class ViewHooks:
    """Called as changes are applied, on the event loop, in the order of registration; they must not block.

    endpoint_written: an endpoint's registration is new, or changed.
    endpoint_gone: an endpoint was deleted; its name.
    health_written: the health record of an endpoint was written.
    lease_suspect: a lease has become suspect.
    lease_gone: a lease was deleted; its id.
    """

    endpoint_written: list[Callable[[EndpointEntry], None]] = field(default_factory=list)
    endpoint_gone: list[Callable[[str], None]] = field(default_factory=list)
    health_written: list[Callable[[EndpointEntry], None]] = field(default_factory=list)
    lease_suspect: list[Callable[[LeaseEntry], None]] = field(default_factory=list)
    lease_gone: list[Callable[[str], None]] = field(default_factory=list)


class RegistryView:
    """Namespaces, services, endpoints and leases by name. Changed only by load() and apply()."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.compacted = 0
        self.namespaces: dict[str, NamespaceEntry] = {}
        self.services: dict[str, ServiceEntry] = {}
        self.leases: dict[str, LeaseEntry] = {}
        self.suspects: set[str] = set()  # ids of leases
        self.orphans: dict[str, int] = {}  # keys, with revisions, of what hangs on something that is not there
        self.hooks = ViewHooks()
        self._progress = Progress()
        self._generation = 0
        self._appliers: dict[str, Callable[[str, Change, set[ServiceEntry]], None]] = {
            "namespaces": self._apply_namespace,
            "services": self._apply_service,
            "endpoints": self._apply_endpoint,
            "health": self._apply_health,
            "drains": self._apply_drain,
            "leases": self._apply_lease,
        }

    @property
    def revision(self) -> int:
        """Everything up to it is in the view."""
        return self._progress.revision

    def load(self, snapshot: Snapshot, *, compacted: int) -> None:
        """Fills an empty view. Resources come in the order in which they hang on each other."""
        self.compacted = compacted
        order = {
            kind: i for i, kind in enumerate(("namespaces", "services", "leases", "endpoints", "health", "drains"))
        }
        rows = sorted(snapshot.entries, key=lambda e: order.get(e.key.split("/", 2)[1], len(order)))
        self._apply(Commit(snapshot.revision, tuple(Change(e.key, e.value, e.revision) for e in rows)))
        self._progress.advance(snapshot.revision)
        for key, revision in sorted(snapshot.deleted, key=lambda deleted: deleted[1]):
            self._note_deleted(key, revision)
        for service in self.services.values():
            service.feed.compacted = max(service.feed.compacted, compacted)
            service.feed.settle()

    def _note_deleted(self, key: str, revision: int) -> None:
        """Has readers who resume told of a deletion: of an endpoint, or of a record that its status came from."""
        _, kind, path = key.split("/", 2)
        if kind not in ("endpoints", "health", "drains"):
            return
        name = names.name_of_path(path)
        service = self.services.get(names.service_of(name))
        if service is None:
            return
        if name in service.endpoints:
            service.feed.touch(name, revision)
        elif kind == "endpoints":
            service.feed.bury(name, revision)

    def apply(self, commit: Commit) -> None:
        """Applies a commit, wakes who watches what it touched and who waits for its revision."""
        now = self._clock.monotonic()
        for service in self._apply(commit):
            self._generation += 1  # over all services, so that one that is created anew repeats none
            service.generation = self._generation
            service.feed.publish(now)
        self._progress.advance(commit.revision)

    async def caught_up(self, revision: int) -> None:
        """Returns once everything up to a revision is in the view.

        Raises:
            KernelStopping: the view was closed before.
        """
        await self._progress.reached(revision)

    def close(self) -> None:
        """Notes that nothing is applied any more."""
        self._progress.close()

    def namespace(self, name: str) -> NamespaceEntry:
        """Returns a namespace or raises NamespaceNotFound."""
        entry = self.namespaces.get(name)
        if entry is None:
            raise NamespaceNotFound(f"{name} is not there", metadata={"resource": name})
        return entry

    def service(self, name: str) -> ServiceEntry:
        """Returns a service or raises ServiceNotFound, or NamespaceNotFound when not even its namespace is there."""
        entry = self.services.get(name)
        if entry is None:
            self.namespace(names.namespace_of(name))
            raise ServiceNotFound(f"{name} is not there", metadata={"resource": name})
        return entry

    def endpoint(self, name: str) -> EndpointEntry:
        """Returns an endpoint or raises the NotFound of the first part of its name that is not there."""
        entry = self.service(names.service_of(name)).endpoints.get(name)
        if entry is None:
            raise EndpointNotFound(f"{name} is not there", metadata={"resource": name})
        return entry

    def find_endpoint(self, name: str) -> EndpointEntry | None:
        """Returns an endpoint, or None."""
        service = self.services.get(names.service_of(name))
        return service.endpoints.get(name) if service else None

    def lease(self, lease: str) -> LeaseEntry:
        """Returns a lease by its id or raises LeaseNotFound."""
        entry = self.leases.get(lease)
        if entry is None:
            name = names.lease_name(lease)
            raise LeaseNotFound(f"{name} is not there: it expired or was revoked", metadata={"resource": name})
        return entry

    def endpoints(self) -> Iterator[EndpointEntry]:
        """Yields every endpoint."""
        for service in self.services.values():
            yield from service.endpoints.values()

    def _apply(self, commit: Commit) -> set[ServiceEntry]:
        touched: set[ServiceEntry] = set()
        for change in commit.changes:
            _, kind, path = change.key.split("/", 2)
            apply = self._appliers.get(kind)
            if apply is not None:  # a newer member may write kinds that this one does not know
                apply(path, change, touched)
        return touched

    def _apply_namespace(self, path: str, change: Change, touched: set[ServiceEntry]) -> None:
        name = names.name_of_path(path)
        if change.value is None:
            self.namespaces.pop(name, None)
            return
        message = Namespace.FromString(change.value)
        message.etag = str(change.revision)
        entry = self.namespaces.get(name)
        if entry is None:
            self.namespaces[name] = NamespaceEntry(message, change.revision)
        else:
            entry.message, entry.revision = message, change.revision

    def _apply_service(self, path: str, change: Change, touched: set[ServiceEntry]) -> None:
        name = names.name_of_path(path)
        entry = self.services.get(name)
        namespace = self.namespaces.get(names.namespace_of(name))
        if change.value is None:
            if entry is not None:
                for endpoint_name, endpoint in tuple(entry.endpoints.items()):
                    self._remove_endpoint(entry, endpoint_name, endpoint, change.revision)
                    self.orphans[_endpoint_key(endpoint_name)] = endpoint.revision
                del self.services[name]
                entry.feed.close()
                touched.discard(entry)
            if namespace is not None:
                namespace.services.discard(name)
            return
        message = Service.FromString(change.value)
        message.etag = str(change.revision)
        if entry is None:
            # Live, who resumes from before the creation saw another service of that name: it must begin anew. In a
            # snapshot the revision is that of the last write, and the deleted endpoints are known.
            compacted = change.revision - 1 if self.revision else self.compacted
            feed = ChangeFeed(compacted=compacted, revision=change.revision)
            entry = self.services[name] = ServiceEntry(message, change.revision, feed)
        else:
            entry.message, entry.revision = message, change.revision
        if namespace is not None:
            namespace.services.add(name)
        entry.feed.touch(SERVICE_ITEM, change.revision)
        touched.add(entry)

    def _apply_endpoint(self, path: str, change: Change, touched: set[ServiceEntry]) -> None:
        name = names.name_of_path(path)
        service = self.services.get(names.service_of(name))
        if service is None:
            self._orphan(change)
            return
        entry = service.endpoints.get(name)
        if change.value is None:
            if entry is not None:
                self._remove_endpoint(service, name, entry, change.revision)
                touched.add(service)
            self.orphans.pop(change.key, None)
            return
        message = Endpoint.FromString(change.value)
        message.etag = str(change.revision)
        lease = message.lease.rpartition("/")[2]
        if entry is None:
            entry = service.endpoints[name] = EndpointEntry(message, lease, change.revision)
        else:
            self._unlink(entry)
            service.healthy -= entry.healthy
            entry.message, entry.lease, entry.revision = message, lease, change.revision
        held = self.leases.get(lease)
        revision = change.revision
        if held is not None:
            held.endpoints.add(name)
            revision = max(revision, held.revision)  # in a snapshot, the lease may have become suspect later
            self.orphans.pop(change.key, None)
        else:
            self.orphans[change.key] = change.revision  # nothing would ever let it expire
        entry.refresh(suspect=held is not None and held.suspect)
        service.healthy += entry.healthy
        service.feed.touch(name, revision)
        touched.add(service)
        for hook in self.hooks.endpoint_written:
            hook(entry)

    def _remove_endpoint(self, service: ServiceEntry, name: str, entry: EndpointEntry, revision: int) -> None:
        del service.endpoints[name]
        service.healthy -= entry.healthy
        self._unlink(entry)
        path = names.endpoint_path(name)
        if entry.health_revision:
            self.orphans[names.HEALTH + path] = entry.health_revision
        if entry.drain_revision:
            self.orphans[names.DRAINS + path] = entry.drain_revision
        service.feed.bury(name, revision)
        for hook in self.hooks.endpoint_gone:
            hook(name)

    def _unlink(self, entry: EndpointEntry) -> None:
        held = self.leases.get(entry.lease)
        if held is not None:
            held.endpoints.discard(entry.message.name)

    def _apply_health(self, path: str, change: Change, touched: set[ServiceEntry]) -> None:
        entry = self._record_owner(path, change)
        if entry is not None:
            entry.health = None if change.value is None else HealthRecord.FromString(change.value)
            entry.health_revision = 0 if change.value is None else change.revision
            self._status_changed(entry, change.revision, touched)
            for hook in self.hooks.health_written:
                hook(entry)

    def _apply_drain(self, path: str, change: Change, touched: set[ServiceEntry]) -> None:
        entry = self._record_owner(path, change)
        if entry is not None:
            entry.drain = None if change.value is None else DrainRecord.FromString(change.value)
            entry.drain_revision = 0 if change.value is None else change.revision
            self._status_changed(entry, change.revision, touched)

    def _record_owner(self, path: str, change: Change) -> EndpointEntry | None:
        entry = self.find_endpoint(names.name_of_path(path))
        if entry is None:
            self._orphan(change)
        else:
            self.orphans.pop(change.key, None)
        return entry

    def _orphan(self, change: Change) -> None:
        if change.value is None:
            self.orphans.pop(change.key, None)
        else:
            self.orphans[change.key] = change.revision

    def _status_changed(self, entry: EndpointEntry, revision: int, touched: set[ServiceEntry]) -> None:
        held = self.leases.get(entry.lease)
        name = entry.message.name
        service = self.services[names.service_of(name)]
        service.healthy -= entry.healthy
        entry.refresh(suspect=held is not None and held.suspect)
        service.healthy += entry.healthy
        service.feed.touch(name, revision)
        touched.add(service)

    def _apply_lease(self, path: str, change: Change, touched: set[ServiceEntry]) -> None:
        entry = self.leases.get(path)
        if change.value is None:
            if entry is not None:
                self._remove_lease(entry, change.revision, touched)
            return
        record = LeaseRecord.FromString(change.value)
        was_suspect = entry is not None and entry.suspect
        if entry is None:
            entry = self.leases[path] = LeaseEntry(path, record, change.revision)
        else:
            entry.record, entry.revision = record, change.revision
        (self.suspects.add if entry.suspect else self.suspects.discard)(path)
        if entry.suspect != was_suspect:
            self._lease_changed(entry, change.revision, touched)
        if entry.suspect and not was_suspect:
            for hook in self.hooks.lease_suspect:
                hook(entry)

    def _remove_lease(self, entry: LeaseEntry, revision: int, touched: set[ServiceEntry]) -> None:
        del self.leases[entry.id]
        self.suspects.discard(entry.id)
        for endpoint in self._lease_changed(entry, revision, touched):
            self.orphans[_endpoint_key(endpoint.message.name)] = endpoint.revision
        for hook in self.hooks.lease_gone:
            hook(entry.id)

    def _lease_changed(self, entry: LeaseEntry, revision: int, touched: set[ServiceEntry]) -> list[EndpointEntry]:
        """Works out anew what hangs on a lease, and returns it."""
        endpoints = [e for e in map(self.find_endpoint, entry.endpoints) if e is not None]
        for endpoint in endpoints:
            self._status_changed(endpoint, revision, touched)
        return endpoints


def _endpoint_key(name: str) -> str:
    return names.ENDPOINTS + names.endpoint_path(name)
