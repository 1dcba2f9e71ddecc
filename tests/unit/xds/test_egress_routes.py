"""The virtual hosts of a sidecar: kept, within bounds, and apart from each other."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pytest
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from sira.registry.v1.service_pb2 import Service

from sira_grpc.xds import egress_routes as module
from sira_grpc.xds.egress_routes import egress_routes
from sira_grpc.xds.node import Node
from sira_grpc.xds.recent import Recent
from sira_grpc.xds.virtual_hosts import virtual_host
from tests.unit.xds.policies import BANK, CART, ECHO, ENVOY_NODE, policed, service, world

LIMIT = 10_000


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The services of which hosts were made. Of one with a fault, none can be."""
    names: list[str] = []

    def make(policed_service: Service, domains: Iterable[str], node: Node) -> VirtualHost:
        names.append(policed_service.name)
        if policed_service.traffic_policy.HasField("fault"):
            raise ValueError("broken")
        return virtual_host(policed_service, domains, node)

    monkeypatch.setattr(module, "virtual_host", make)
    monkeypatch.setattr(module, "_kept", Recent(LIMIT))
    return names


def hosts(*services: Service) -> dict[str, VirtualHost]:
    told = egress_routes(world(*services), ENVOY_NODE)
    assert told is not None
    return {host.name: host for host in RouteConfiguration.FromString(told).virtual_hosts}


def test_a_host_is_made_again_when_its_policy_changes(made: list[str]) -> None:
    first = hosts(service(ECHO), service(CART))
    assert made == sorted([ECHO, CART])
    assert hosts(service(ECHO), service(CART)) == first
    assert hosts(service(ECHO), policed("timeout { seconds: 1 }", CART))["echo.shop"] == first["echo.shop"]
    assert made[2:] == [CART]


def test_what_cannot_be_made_stays_as_it_was_and_the_others_do_not_suffer(
    made: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    broken = policed("fault {}", CART)
    assert set(hosts(service(ECHO), broken)) == {"echo.shop", "*"}
    first = hosts(service(ECHO), service(CART))
    del made[:]
    for _ in range(2):
        now = hosts(policed("timeout { seconds: 1 }", ECHO), broken, service(BANK))
        assert now["cart.shop"] == first["cart.shop"]
        assert now["echo.shop"] != first["echo.shop"]
        assert set(now) == {"echo.shop", "cart.shop", "bank.pay", "*"}
    assert made == sorted([ECHO, CART, BANK]), "nothing is tried again that is not new"
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


def test_what_is_kept_is_bounded_by_its_size() -> None:
    route = 'routes { splits { weight: 1 destination { version: "some version" } } }'
    for number in range(50):
        hosts(policed(route * 20, f"namespaces/shop/services/s{number}"))
    assert len(module._kept) < 25
