"""A target of calls: a service, or those of its endpoints that have a version and labels."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.route_pb2 import Destination

_KEPT = ".-_+"


@dataclass(frozen=True, slots=True)
class Target:
    """A service, or some of its endpoints.

    Attributes:
        service: resource name of the service.
        version: only endpoints of this version; empty means any.
        labels: only endpoints with these labels, sorted.
    """

    service: str
    version: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, destination: Destination, service: str) -> Target:
        """What a destination in the policy of a service stands for."""
        labels = tuple(sorted(destination.metadata.items()))
        return cls(destination.service or service, destination.version, labels)

    @property
    def whole(self) -> bool:
        """Whether it is all endpoints of the service."""
        return not self.version and not self.labels

    @property
    def cluster(self) -> str:
        """The name by which clients of xDS know it: `{svc}.{ns}`, or `{svc}.{ns}|version={v}|{key}={value}`."""
        _, namespace, _, service = self.service.split("/")
        parts = [f"{service}.{namespace}"]
        if self.version:
            parts.append(f"version={quote(self.version, safe=_KEPT)}")
        # A label may be called `version` too: what is escaped differs from the key of the version.
        parts += [f"{_escaped(key)}={quote(value, safe=_KEPT)}" for key, value in self.labels]
        return "|".join(parts)

    def has(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint belongs to it."""
        if self.version and endpoint.version != self.version:
            return False
        return all(endpoint.metadata.get(key) == value for key, value in self.labels)


def _escaped(key: str) -> str:
    return "%76ersion" if key == "version" else quote(key, safe=_KEPT)
