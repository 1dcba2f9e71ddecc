"""Names of registry resources, and the store keys they live under."""

from __future__ import annotations

PREFIX = "registry/"
NAMESPACES = "registry/namespaces/"
SERVICES = "registry/services/"
ENDPOINTS = "registry/endpoints/"
HEALTH = "registry/health/"
DRAINS = "registry/drains/"
LEASES = "registry/leases/"


def service_of(endpoint: str) -> str:
    """Returns the service name of an endpoint name."""
    return endpoint[: endpoint.rindex("/endpoints/")]


def namespace_of(name: str) -> str:
    """Returns the namespace name of a service or endpoint name."""
    return name[: name.index("/", len("namespaces/"))]


def lease_name(lease: str) -> str:
    """Returns `leases/{lease}`."""
    return f"leases/{lease}"


def namespace_key(name: str) -> str:
    """Returns the store key of a namespace name."""
    return NAMESPACES + name.split("/")[1]


def service_key(name: str) -> str:
    """Returns the store key of a service name."""
    _, namespace, _, service = name.split("/")
    return f"{SERVICES}{namespace}/{service}"


def endpoint_path(name: str) -> str:
    """Returns `{namespace}/{service}/{endpoint}` of an endpoint name: what its keys share."""
    _, namespace, _, service, _, endpoint = name.split("/")
    return f"{namespace}/{service}/{endpoint}"


def name_of_path(path: str) -> str:
    """Returns the resource name of a key without its prefix, of one to three segments."""
    kinds = ("namespaces", "services", "endpoints")
    return "/".join(f"{kind}/{part}" for kind, part in zip(kinds, path.split("/"), strict=False))
