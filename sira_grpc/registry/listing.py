"""Reads single resources and lists of them, with filters, field masks and pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.event_pb2 import Event
from sira.registry.v1.lease_pb2 import Lease
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.service_pb2 import Service, ServiceStatus

from sira_grpc.errors import InvalidPageToken, NamespaceNotFound
from sira_grpc.registry.entries import ServiceEntry
from sira_grpc.registry.events import EventLog
from sira_grpc.registry.expiry import Expiry
from sira_grpc.registry.field_masks import check_paths, project
from sira_grpc.registry.filters import compile_filter
from sira_grpc.registry.lease_keeper import LeaseKeeper
from sira_grpc.registry.pages import decode_token, encode_token, page_size, take_page
from sira_grpc.registry.times import timestamp
from sira_grpc.registry.view import RegistryView

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

    def namespaces(self, *, size: int, token: str, filter_text: str, mask: FieldMask) -> tuple[list[Namespace], str]:
        """Lists namespaces by name. Raises: InvalidFilter, InvalidPageToken, InvalidFieldMask."""
        items = [entry.message for entry in self._view.namespaces.values()]
        return _page(items, Namespace, "namespaces", size=size, token=token, filter_text=filter_text, mask=mask)

    def services(
        self, parent: str, *, size: int, token: str, filter_text: str, mask: FieldMask
    ) -> tuple[list[Service], str]:
        """Lists the services of a namespace, or of all. Raises: as namespaces(), and NamespaceNotFound."""
        namespace = parent.split("/")[1]
        if namespace == ANY:
            entries = list(self._view.services.values())
        else:
            entries = [self._view.services[name] for name in self._view.namespace(parent).services]
        items = [self.describe(entry) for entry in entries]
        return _page(items, Service, parent, size=size, token=token, filter_text=filter_text, mask=mask)

    def endpoints(
        self, parent: str, *, size: int, token: str, filter_text: str, mask: FieldMask
    ) -> tuple[list[Endpoint], str]:
        """Lists the endpoints of a service, or of many. Raises: as namespaces(), and ServiceNotFound and the like."""
        items = [e.message for service in self._services(parent) for e in service.endpoints.values()]
        return _page(items, Endpoint, parent, size=size, token=token, filter_text=filter_text, mask=mask)

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

    def leases(self, *, size: int, token: str, filter_text: str, mask: FieldMask) -> tuple[list[Lease], str]:
        """Lists leases by name. Raises: as namespaces()."""
        items = [self._keeper.describe(entry) for entry in self._view.leases.values()]
        return _page(items, Lease, "leases", size=size, token=token, filter_text=filter_text, mask=mask)

    def events(self, resource: str, *, size: int, token: str) -> tuple[list[Event], str]:
        """Lists events, the newest first. Raises: InvalidPageToken."""
        query = f"events {resource}"
        after = decode_token(token, query)
        if after and not after.isdecimal():
            raise InvalidPageToken("page_token: not a next_page_token of an earlier page")
        wanted = page_size(size)
        found: list[tuple[int, Event]] = []
        for item in self._events.latest(below=int(after or 0), resource=resource):
            if len(found) == wanted:
                return [event for _, event in found], encode_token(str(found[-1][0]), query)
            found.append(item)
        return [event for _, event in found], ""


def _masked(message: R, mask: FieldMask) -> R:
    check_paths(mask, message, "read_mask")
    return project(message, mask)


def _page(
    items: Iterable[R], kind: type[R], parent: str, *, size: int, token: str, filter_text: str, mask: FieldMask
) -> tuple[list[R], str]:
    check_paths(mask, kind(), "read_mask")
    matches = compile_filter(filter_text, kind)
    query = f"{kind.DESCRIPTOR.full_name} {parent} {filter_text}"
    page, following = take_page(
        (item for item in items if matches(item)), lambda item: item.name, size=size, token=token, query=query
    )
    return [project(item, mask) for item in page], following
