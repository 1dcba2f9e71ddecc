"""Short names, as people type them, to resource names."""

from __future__ import annotations

FULL = "namespaces/"


def namespace_name(name: str) -> str:
    """`shop` is `namespaces/shop`."""
    return name if name.startswith(FULL) else f"namespaces/{name}"


def service_name(name: str, namespace: str) -> str:
    """`checkout` is `namespaces/{namespace}/services/checkout`."""
    return name if name.startswith(FULL) else f"namespaces/{namespace}/services/{name}"


def endpoint_name(name: str, namespace: str) -> str:
    """`checkout/a` is `namespaces/{namespace}/services/checkout/endpoints/a`."""
    if name.startswith(FULL):
        return name
    service, _, endpoint = name.partition("/")
    return f"namespaces/{namespace}/services/{service}/endpoints/{endpoint}"


def service_or_endpoint_name(name: str, namespace: str) -> str:
    """With a slash, as endpoint_name; without, as service_name."""
    return endpoint_name(name, namespace) if "/" in name else service_name(name, namespace)


def topic_name(name: str, namespace: str) -> str:
    """`orders.eu.created` is `namespaces/{namespace}/topics/orders.eu.created`."""
    return name if name.startswith(FULL) else f"namespaces/{namespace}/topics/{name}"


def subscription_name(name: str, namespace: str) -> str:
    """`billing` is `namespaces/{namespace}/subscriptions/billing`."""
    return name if name.startswith(FULL) else f"namespaces/{namespace}/subscriptions/{name}"


def lock_name(name: str, namespace: str) -> str:
    """`migrate` is `namespaces/{namespace}/locks/migrate`."""
    return name if name.startswith(FULL) else f"namespaces/{namespace}/locks/{name}"


def election_name(name: str, namespace: str) -> str:
    """`primary` is `namespaces/{namespace}/elections/primary`."""
    return name if name.startswith(FULL) else f"namespaces/{namespace}/elections/{name}"


def own(name: str) -> str:
    """The last part of a resource name: the topic `orders.eu.created` without its namespace."""
    return name.rpartition("/")[2]


def lease_name(name: str) -> str:
    """`x1` is `leases/x1`."""
    return name if name.startswith("leases/") else f"leases/{name}"


def short(name: str) -> str:
    """The ids of a resource name: `namespaces/shop/services/checkout/endpoints/a` is `shop/checkout/a`."""
    return "/".join(name.split("/")[1::2])
