from __future__ import annotations

from sira_grpc.xds import routes
from sira_grpc.xds.names import EGRESS
from sira_grpc.xds.reachable import reachable
from tests.unit.xds.policies import BANK, CART, ECHO, ENVOY_NODE, PYTHON, policed, service, world
from tests.unit.xds.test_routes import built

TO_CART = f'splits {{ weight: 1 destination {{ service: "{CART}" }} }}'
TO_BANK = f'splits {{ weight: 3 destination {{ service: "{BANK}" version: "v2" }} }}'
MIRROR_CART = f'percent: 1 destination {{ service: "{CART}" }}'
MIRROR_BANK = f'percent: 1 destination {{ service: "{BANK}" }}'
TO_V1 = 'splits { weight: 2 destination { version: "v1" } }'


def test_what_is_all_there_stays_as_it_is() -> None:
    whole = policed(f"routes {{ {TO_CART} {TO_BANK} {TO_V1} }}")
    assert reachable(whole, {CART, BANK, ECHO}) is whole
    assert reachable(service(), ()) == service()


def test_splits_to_services_that_are_gone_are_left_out() -> None:
    split = policed(f"routes {{ {TO_BANK} {TO_CART} {TO_BANK} {TO_V1} }} routes {{ {TO_CART} }}")
    before = split.SerializeToString()
    left = reachable(split, {ECHO, CART})
    assert [[each.weight for each in route.splits] for route in left.traffic_policy.routes] == [[1, 2], [1]]
    assert split.SerializeToString() == before


def test_calls_go_to_what_is_left_and_to_the_service_itself_if_nothing_is() -> None:
    split = policed(f"routes {{ {TO_BANK} {TO_CART} }}")
    for name, node in (("echo.shop", PYTHON), (EGRESS, ENVOY_NODE)):
        ways = []
        for services in ((service(BANK), service(CART)), (service(CART),), (), (service(BANK), service(CART))):
            told = built(world(split, *services), name, node)
            [host] = [each for each in told.virtual_hosts if each.name == "echo.shop"]
            action = host.routes[0].route
            ways.append(action.cluster or [each.name for each in action.weighted_clusters.clusters])
        both = ["bank.pay|version=v2", "cart.shop"]
        assert ways == [both, "cart.shop", "echo.shop", both]


def test_mirrors_to_services_that_are_gone_are_left_out() -> None:
    mirrored = policed(f"mirror {{ {MIRROR_CART} }} routes {{ {TO_V1} mirror {{ {MIRROR_BANK} }} }}")
    left = reachable(mirrored, {ECHO, CART}).traffic_policy
    assert (left.HasField("mirror"), left.routes[0].HasField("mirror")) == (True, False)
    left = reachable(mirrored, {ECHO, BANK}).traffic_policy
    assert (left.HasField("mirror"), left.routes[0].HasField("mirror")) == (False, True)


def test_nothing_is_left_of_a_service_that_is_gone_itself() -> None:
    assert routes.build(world(), "echo.shop", PYTHON) is None
