"""A service and its endpoints as a watch has told of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.resolver_service_pb2 import WatchResponse, WatchSnapshot
from sira.registry.v1.service_pb2 import Service

from sira_client.errors import InternalError


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service at one revision. It never changes: the next state is another view.

    Attributes:
        service: the service; its traffic policy is what callers follow.
        endpoints: all endpoints by resource name, healthy or not.
        revision: the registry's revision.
    """

    service: Service
    endpoints: Mapping[str, Endpoint]
    revision: int


class ViewBuilder:
    """Puts the messages of a watch together."""

    def __init__(self) -> None:
        self._view: ServiceView | None = None
        self._parts: WatchSnapshot | None = None
        self._revision = 0

    @property
    def revision(self) -> int:
        """The revision to resume from; 0 while there is nothing to resume."""
        return self._revision

    @property
    def known(self) -> bool:
        """Whether the service has been seen."""
        return self._view is not None

    def restart(self) -> None:
        """Forgets the revision and any snapshot that came in part: the next stream begins with a snapshot."""
        self._revision = 0
        self._parts = None

    def reconnect(self) -> None:
        """Forgets a snapshot that came in part: the stream that was sending it is gone."""
        self._parts = None

    def apply(self, message: WatchResponse) -> ServiceView | None:
        """Takes one message in. Returns the new view, or None where there is nothing new to see."""
        match message.WhichOneof("event"):
            case "snapshot":
                return self._take_snapshot(message)
            case "changes":
                return self._take_changes(message)
            case _:
                self._revision = message.revision
                return None

    def _take_snapshot(self, message: WatchResponse) -> ServiceView | None:
        snapshot = message.snapshot
        if self._parts is not None:
            self._parts.MergeFrom(snapshot)
            snapshot = self._parts
        if message.snapshot.more:
            self._parts = snapshot
            return None
        self._parts = None
        return self._became(snapshot.service, {e.name: e for e in snapshot.endpoints}, message.revision)

    def _take_changes(self, message: WatchResponse) -> ServiceView | None:
        changes = message.changes
        if self._view is None:
            raise InternalError("a watch sent changes before any snapshot")
        endpoints = dict(self._view.endpoints)
        endpoints.update((endpoint.name, endpoint) for endpoint in changes.upserted)
        for name in changes.deleted:
            endpoints.pop(name, None)
        service = changes.service if changes.HasField("service") else self._view.service
        return self._became(service, endpoints, message.revision)

    def _became(self, service: Service, endpoints: dict[str, Endpoint], revision: int) -> ServiceView:
        self._view = ServiceView(service, MappingProxyType(endpoints), revision)
        self._revision = revision
        return self._view
