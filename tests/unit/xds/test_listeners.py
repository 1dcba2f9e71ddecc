"""Listeners of clients of gRPC, and which kind of client gets which listener."""

from __future__ import annotations

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.xds import listeners
from sira_grpc.xds.api_listeners import WAITS_FOR_MISSING
from sira_grpc.xds.http_filters import FAULT, ROUTER
from sira_grpc.xds.node import Node
from sira_grpc.xds.world import World
from tests.unit.xds.policies import BANK, ENVOY_NODE, GRPC, PYTHON, SIDECAR, policed, service, world

SERVER = "grpc/server?xds.resource.listening_address=0.0.0.0:50051"
WORLD = world(service(), service(BANK))


def manager(name: str, node: Node = PYTHON, where: World = WORLD) -> HttpConnectionManager:
    listener = listeners.build(where, name, node)
    assert listener is not None
    assert listener.name == name
    told = HttpConnectionManager()
    assert listener.api_listener.api_listener.Unpack(told)
    return told


@pytest.mark.parametrize("kind", GRPC)
def test_a_service_is_a_listener_that_says_where_its_routes_are(kind: ClientKind.ValueType) -> None:
    told = manager("bank.pay", Node(id="n", kind=kind))
    assert told.rds.route_config_name == "bank.pay"
    assert told.rds.config_source.HasField("ads")
    assert [each.name for each in told.http_filters] == [ROUTER]
    # gRPC for Node takes it for the default of its timeouts.
    assert not told.HasField("common_http_protocol_options")


def test_a_short_name_is_of_the_namespace_of_the_client() -> None:
    assert manager("echo").rds.route_config_name == "echo.shop"
    assert manager("bank", Node(id="n", namespace="pay")).rds.route_config_name == "bank.pay"
    assert listeners.build(WORLD, "bank", PYTHON) is None


def test_filters_are_those_that_the_policy_needs() -> None:
    where = world(policed("fault { abort { code: 14 percent: 1 } }"))
    assert [each.name for each in manager("echo", where=where).http_filters] == [FAULT, ROUTER]


@pytest.mark.parametrize("name", ["", "nobody", "nobody.shop", "echo.shop.x", "echo.shop:80", "Echo", "inbound:15006"])
def test_there_is_no_listener_of_what_is_no_service(name: str) -> None:
    assert listeners.build(WORLD, name, PYTHON) is None


def test_each_kind_has_its_own_listeners() -> None:
    assert listeners.build(WORLD, SERVER, PYTHON) is not None
    assert listeners.build(WORLD, SERVER, SIDECAR) is None
    assert listeners.build(WORLD, "egress", ENVOY_NODE) is not None
    assert listeners.build(WORLD, "egress", PYTHON) is None
    assert listeners.build(WORLD, "echo.shop", ENVOY_NODE) is None


@pytest.mark.parametrize("kind", WAITS_FOR_MISSING)
def test_who_does_not_read_errors_of_resources_calls_nothing_instead_of_waiting(kind: ClientKind.ValueType) -> None:
    told = manager("missing.shop", Node(id="n", kind=kind))
    assert [list(host.routes) for host in told.route_config.virtual_hosts] == [[]]
    assert listeners.build(WORLD, "Not a service", Node(id="n", kind=kind)) is None
