from __future__ import annotations

from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.route_pb2 import Destination
from sira_client.balancing.target import Target

CART = "namespaces/shop/services/cart"


def test_a_destination_without_a_service_is_of_the_service_itself() -> None:
    assert Target.of(Destination(), CART) == Target(CART)
    assert Target.of(Destination(service="namespaces/a/services/b"), CART) == Target("namespaces/a/services/b")
    some = Target.of(Destination(version="v2", metadata={"b": "2", "a": "1"}), CART)
    assert some == Target(CART, "v2", (("a", "1"), ("b", "2")))
    assert (Target(CART).whole, some.whole) == (True, False)


def test_endpoints_of_a_target_have_its_version_and_all_its_labels() -> None:
    endpoint = Endpoint(version="v2", metadata={"a": "1", "b": "2"})
    assert Target(CART).has(endpoint)
    assert Target(CART, "v2", (("a", "1"),)).has(endpoint)
    assert not Target(CART, "v1").has(endpoint)
    assert not Target(CART, "v2", (("a", "2"),)).has(endpoint)
    assert not Target(CART, "", (("c", ""),)).has(endpoint)


def test_the_name_of_a_cluster() -> None:
    assert Target(CART).cluster == "cart.shop"
    assert Target(CART, "v2").cluster == "cart.shop|version=v2"
    assert Target(CART, "", (("a b", "x|y"), ("version", "v2"))).cluster == "cart.shop|a%20b=x%7Cy|%76ersion=v2"
