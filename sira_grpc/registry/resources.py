"""The resources of the registry in memory, by name."""

from __future__ import annotations

from collections.abc import Iterator

from sira_grpc.errors import EndpointNotFound, LeaseNotFound, NamespaceNotFound, ServiceNotFound
from sira_grpc.registry import names
from sira_grpc.registry.entries import EndpointEntry, LeaseEntry, NamespaceEntry, ServiceEntry


class Resources:
    """Namespaces, services with their endpoints, and leases; and what hangs on something that is not there."""

    def __init__(self) -> None:
        self.namespaces: dict[str, NamespaceEntry] = {}
        self.services: dict[str, ServiceEntry] = {}
        self.leases: dict[str, LeaseEntry] = {}
        self.suspects: set[str] = set()  # ids of leases
        self.orphans: dict[str, int] = {}  # keys, with revisions, of what hangs on something that is not there

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
