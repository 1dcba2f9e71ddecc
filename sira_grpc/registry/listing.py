"""Reads single resources and lists of them, with filters, field masks and pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.event_pb2 import Event
from sira.registry.v1.lease_pb2 import Lease
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.service_pb2 import Service, ServiceStatus

from sira_grpc.errors import InvalidPageToken, NamespaceNotFound
from sira_grpc.field_masks import check_paths, project
from sira_grpc.pages import decode_token, encode_token, page_size, take_page
from sira_grpc.registry.entries import ServiceEntry
from sira_grpc.registry.events import EventLog
from sira_grpc.registry.expiry import Expiry
from sira_grpc.registry.filters import compile_filter
from sira_grpc.registry.lease_keeper import LeaseKeeper
from sira_grpc.registry.view import RegistryView
from sira_grpc.times import timestamp

ANY = "-"

R = TypeVar("R", Namespace, Service, Endpoint, Lease)


class Listing:
    """The reads of the registry, all from memory."""

    def __init__(self, view: RegistryView, keeper: LeaseKeeper, expiry: Expiry, events: EventLog) -> None:
        self._view = view
        self._keeper = keeper
        self._expiry = expiry
        self._events = events

    def namespace(self, name: str, mask: FieldMask) -> Namespace:
        """Reads a namespace. Raises: NamespaceNotFound, InvalidFieldMask."""
        return _masked(self._view.namespace(name).message, mask)

    def service(self, name: str, mask: FieldMask) -> Service:
        """Reads a service. Raises: ServiceNotFound and the like, InvalidFieldMask."""
        return _masked(self.describe(self._view.service(name)), mask)

    def endpoint(self, name: str, mask: FieldMask) -> Endpoint:
        """Reads an endpoint. Raises: EndpointNotFound and the like, InvalidFieldMask."""
        return _masked(self._view.endpoint(name).message, mask)

    def lease(self, name: str, mask: FieldMask) -> Lease:
        """Reads a lease. Raises: LeaseNotFound, InvalidFieldMask."""
        return _masked(self._keeper.describe(self._view.lease(name.removeprefix("leases/"))), mask)

    def describe(self, entry: ServiceEntry) -> Service:
        """Returns a service with its status."""
        service = Service()
        service.CopyFrom(entry.message)
        status = ServiceStatus(
            endpoints=len(entry.endpoints),
            healthy_endpoints=entry.healthy,
            watchers=entry.feed.subscribers,
        )
        since = self._expiry.paused_since(entry.message.name)
        if since is not None:
            status.expiry_paused = True
            status.expiry_paused_time.CopyFrom(timestamp(since))
        service.status.CopyFrom(status)
        return service

    async def namespaces(
        self, *, size: int, token: str, filter_text: str, mask: FieldMask
    ) -> tuple[list[Namespace], str]:
        """Lists namespaces by name. Raises: InvalidFilter, InvalidPageToken, InvalidFieldMask."""

        def load(name: str) -> Namespace | None:
            entry = self._view.namespaces.get(name)
            return entry.message if entry is not None else None

        page = _Page(Namespace, "namespaces", size, token, filter_text, mask)
        return await page.of(self._view.namespaces, load)

    async def services(
        self, parent: str, *, size: int, token: str, filter_text: str, mask: FieldMask
    ) -> tuple[list[Service], str]:
        """Lists the services of a namespace, or of all. Raises: as namespaces(), and NamespaceNotFound."""

        def load(name: str) -> Service | None:
            entry = self._view.services.get(name)
            return self.describe(entry) if entry is not None else None

        everywhere = parent.split("/")[1] == ANY
        names = self._view.services if everywhere else self._view.namespace(parent).services
        return await _Page(Service, parent, size, token, filter_text, mask).of(names, load)

    async def endpoints(
        self, parent: str, *, size: int, token: str, filter_text: str, mask: FieldMask
    ) -> tuple[list[Endpoint], str]:
        """Lists the endpoints of a service, or of many. Raises: as namespaces(), and ServiceNotFound and the like."""

        def load(name: str) -> Endpoint | None:
            entry = self._view.find_endpoint(name)
            return entry.message if entry is not None else None

        names = (name for service in self._services(parent) for name in service.endpoints)
        return await _Page(Endpoint, parent, size, token, filter_text, mask).of(names, load)

    def _services(self, parent: str) -> Sequence[ServiceEntry]:
        _, namespace, _, service = parent.split("/")
        if ANY not in (namespace, service):
            return [self._view.service(parent)]
        if namespace != ANY and f"namespaces/{namespace}" not in self._view.namespaces:
            name = f"namespaces/{namespace}"
            raise NamespaceNotFound(f"{name} is not there", metadata={"resource": name})
        found = []
        for name, entry in self._view.services.items():
            _, its_namespace, _, its_service = name.split("/")
            if namespace in (ANY, its_namespace) and service in (ANY, its_service):
                found.append(entry)
        return found

    async def leases(self, *, size: int, token: str, filter_text: str, mask: FieldMask) -> tuple[list[Lease], str]:
        """Lists leases by name. Raises: as namespaces()."""

        def load(lease: str) -> Lease | None:
            entry = self._view.leases.get(lease)
            return self._keeper.describe(entry) if entry is not None else None

        return await _Page(Lease, "leases", size, token, filter_text, mask).of(self._view.leases, load)

    async def events(self, resource: str, *, size: int, token: str) -> tuple[list[Event], str]:
        """Lists events, of all members, the newest first. Raises: InvalidPageToken."""
        query = f"events {resource}"
        after = decode_token(token, query)
        if after and not after.isdecimal():
            raise InvalidPageToken("page_token: not a next_page_token of an earlier page")
        wanted = page_size(size)
        await self._events.refresh()
        found: list[tuple[int, Event]] = []
        for item in self._events.latest(below=int(after or 0), resource=resource):
            if len(found) == wanted:
                return [event for _, event in found], encode_token(str(found[-1][0]), query)
            found.append(item)
        return [event for _, event in found], ""


def _masked(message: R, mask: FieldMask) -> R:
    check_paths(mask, message, "read_mask")
    return project(message, mask)


@dataclass(slots=True)
class _Page(Generic[R]):
    """A page of resources of one kind that was asked for."""

    kind: type[R]
    parent: str
    size: int
    token: str
    filter_text: str
    mask: FieldMask

    async def of(self, names: Iterable[str], load: Callable[[str], R | None]) -> tuple[list[R], str]:
        """Takes it from all there are."""
        check_paths(self.mask, self.kind(), "read_mask")
        matches = compile_filter(self.filter_text, self.kind) if self.filter_text.strip() else None
        query = f"{self.kind.DESCRIPTOR.full_name} {self.parent} {self.filter_text}"
        page, following = await take_page(names, load, matches, size=self.size, token=self.token, query=query)
        return [project(item, self.mask) for item in page], following
