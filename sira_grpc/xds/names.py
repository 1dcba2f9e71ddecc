"""The names of xDS resources, and the services that they stand for.

| Type | Name |
|---|---|
| Listener | `{svc}.{ns}`; `{svc}` in the client's own namespace; of an Envoy `egress` and `inbound:{port}`; of a server
             of gRPC `grpc/server?xds.resource.listening_address={address}` |
| RouteConfiguration | `{svc}.{ns}`; of an Envoy `egress` and `inbound:{port}` |
| Cluster | `{svc}.{ns}`, or with a subset `{svc}.{ns}|version={v}|{key}={value}`; of an Envoy `inbound:{port}` |
| ClusterLoadAssignment | as the cluster |
| Secret | `trust` |

Each may also be asked for as `xdstp://sira/{type}/{name}`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.route_pb2 import Destination

AUTHORITY = "sira"
EGRESS = "egress"
INBOUND = "inbound:"
SERVER = "grpc/server?xds.resource.listening_address="
TRUST = "trust"
VERSION = "version"

_XDSTP = f"xdstp://{AUTHORITY}/"
_ID = r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?"
_ONE_ID = re.compile(_ID)
_SERVICE = re.compile(rf"({_ID})(?:\.({_ID}))?")


@dataclass(frozen=True, slots=True)
class Target:
    """A service, or some of its endpoints.

    Attributes:
        service: name of the service.
        version: only endpoints of this version; empty means any.
        labels: only endpoints with these labels, sorted.
    """

    service: str
    version: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it is all endpoints of the service."""
        return not self.version and not self.labels

    def has(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint belongs to it."""
        if self.version and endpoint.version != self.version:
            return False
        return all(endpoint.metadata.get(key) == value for key, value in self.labels)

    @classmethod
    def of(cls, destination: Destination, service: str) -> Target:
        """Returns what a destination in the policy of a service stands for."""
        labels = tuple(sorted(destination.metadata.items()))
        return cls(destination.service or service, destination.version, labels)


def plain(name: str, type_url: str) -> str:
    """Returns a name without the form of `xdstp://sira/{type}/{name}`; as it is if it is none of that type."""
    prefix = f"{_XDSTP}{type_url.rpartition('/')[2]}/"
    return name.removeprefix(prefix)


def xdstp(name: str, type_url: str) -> str:
    """Returns the `xdstp:` form of a name."""
    return f"{_XDSTP}{type_url.rpartition('/')[2]}/{name}"


def short(service: str) -> str:
    """Returns `{svc}.{ns}` of the name of a service."""
    _, namespace, _, name = service.split("/")
    return f"{name}.{namespace}"


def is_id(text: str) -> bool:
    """Whether a text can be the id of a service or a namespace."""
    return _ONE_ID.fullmatch(text) is not None


def service_named(name: str, namespace: str) -> str:
    """Returns the name of the service that `{svc}.{ns}` or `{svc}` stands for; empty if it is neither."""
    found = _SERVICE.fullmatch(name)
    return f"namespaces/{found[2] or namespace}/services/{found[1]}" if found else ""


def cluster(target: Target) -> str:
    """Returns the name of the cluster of a target."""
    parts = [short(target.service)]
    if target.version:
        parts.append(f"{VERSION}={quote(target.version, safe='.-_+')}")
    # A label may be called `version` too: what is escaped differs from the key of the version.
    parts += [f"{_escaped(key)}={quote(value, safe='.-_+')}" for key, value in target.labels]
    return "|".join(parts)


def target_named(name: str) -> Target | None:
    """Returns the target of a cluster name; None if it is none."""
    service, *parts = name.split("|")
    full = service_named(service, "")
    if not full or "//" in full:
        return None
    version, labels = "", []
    for part in parts:
        key, equal, value = part.partition("=")
        if not equal:
            return None
        if key == VERSION:
            version = unquote(value)
        else:
            labels.append((unquote(key), unquote(value)))
    return Target(full, version, tuple(labels))


def _escaped(key: str) -> str:
    return "%76ersion" if key == VERSION else quote(key, safe=".-_+")
