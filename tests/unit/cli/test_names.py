"""Short names."""

from __future__ import annotations

import pytest

from sira_grpc.cli import names

SERVICE = "namespaces/shop/services/checkout"


def test_namespaces() -> None:
    assert names.namespace_name("shop") == "namespaces/shop"
    assert names.namespace_name("namespaces/shop") == "namespaces/shop"


@pytest.mark.parametrize("name", ["checkout", SERVICE])
def test_services(name: str) -> None:
    assert names.service_name(name, "shop") == SERVICE


@pytest.mark.parametrize("name", ["checkout/a", f"{SERVICE}/endpoints/a"])
def test_endpoints(name: str) -> None:
    assert names.endpoint_name(name, "shop") == f"{SERVICE}/endpoints/a"


@pytest.mark.parametrize(
    ("name", "full"),
    [("checkout", SERVICE), (SERVICE, SERVICE), ("checkout/a", f"{SERVICE}/endpoints/a")],
)
def test_services_or_endpoints(name: str, full: str) -> None:
    assert names.service_or_endpoint_name(name, "shop") == full


def test_leases() -> None:
    assert names.lease_name("x1") == names.lease_name("leases/x1") == "leases/x1"


@pytest.mark.parametrize(
    ("full", "short"), [("namespaces/shop", "shop"), (SERVICE, "shop/checkout"), ("leases/x1", "x1"), ("", "")]
)
def test_short_has_the_ids(full: str, short: str) -> None:
    assert names.short(full) == short


@pytest.mark.parametrize("name", ["orders.eu", "namespaces/shop/topics/orders.eu"])
def test_topics(name: str) -> None:
    full = names.topic_name(name, "shop")
    assert full == "namespaces/shop/topics/orders.eu"
    assert (names.own(full), names.short(full)) == ("orders.eu", "shop/orders.eu")


@pytest.mark.parametrize("name", ["billing", "namespaces/shop/subscriptions/billing"])
def test_subscriptions(name: str) -> None:
    assert names.subscription_name(name, "shop") == "namespaces/shop/subscriptions/billing"
