"""Resource names and ids."""

from __future__ import annotations

import re

DEFAULT_NAMESPACE = "default"

_ID = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_SERVICE = re.compile(r"namespaces/([^/]+)/services/([^/]+)")


def service_name(service: str, namespace: str = DEFAULT_NAMESPACE) -> str:
    """The resource name of a service, given by its id or already by its resource name.

    Raises:
        ValueError: an id is malformed.
    """
    match = _SERVICE.fullmatch(service)
    if match is not None:
        namespace, service = match.groups()
    _check("namespace", namespace)
    _check("service", service)
    return f"namespaces/{namespace}/services/{service}"


def endpoint_name(service: str, endpoint_id: str) -> str:
    """The resource name of an endpoint of a service that is given by its resource name.

    Raises:
        ValueError: the id is malformed.
    """
    _check("endpoint_id", endpoint_id)
    return f"{service}/endpoints/{endpoint_id}"


def derived_id(*parts: str) -> str:
    """An id from text of any kind: what an id cannot hold becomes `-`, and it is cut to 63 characters from the left."""
    text = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")[-62:].strip("-")
    return text if text[:1].isalpha() else f"e{text}"


def dns_name(service: str, trust_domain: str) -> str:
    """The DNS name in the certificates of a service that is given by its resource name."""
    _, namespace, _, service_id = service.split("/")
    return f"{service_id}.{namespace}.{trust_domain}"


def kernel_dns_name(trust_domain: str) -> str:
    """The DNS name in the certificates of all members of the kernel."""
    return f"kernel.{trust_domain}"


def _check(field: str, value: str) -> None:
    if not _ID.fullmatch(value):
        raise ValueError(f"{field}: {value!r} must match {_ID.pattern}")
