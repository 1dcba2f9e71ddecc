from __future__ import annotations

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from sira_grpc.xds.http_filters import ACCESS, ROUTER
from sira_grpc.xds.node import Node
from sira_grpc.xds.server_listeners import server_listener, socket_address
from sira_grpc.xds.world import World
from tests.unit.xds.policies import ECHO, MUTUAL, PYTHON, TRUST_DOMAIN, service, world

PREFIX = "grpc/server?xds.resource.listening_address="
NAME = f"{PREFIX}0.0.0.0:50051"
RULED = f"{MUTUAL} access_policy {{}}"
NOBODY = Node(id="n", service="namespaces/shop/services/nobody")


def listener(where: World, name: str = NAME) -> Listener:
    told = server_listener(where, name, PYTHON)
    assert told is not None
    return told


def manager(told: Listener) -> HttpConnectionManager:
    (only,) = told.default_filter_chain.filters
    config = HttpConnectionManager()
    assert only.typed_config.Unpack(config)
    return config


def test_what_every_server_of_grpc_takes() -> None:
    told = listener(world(service()))
    address = told.address.socket_address
    assert (told.name, address.address, address.port_value) == (NAME, "0.0.0.0", 50051)
    assert not told.listener_filters
    assert not told.filter_chains

    (host,) = manager(told).route_config.virtual_hosts
    (route,) = host.routes
    assert list(host.domains) == ["*"]
    assert route.HasField("non_forwarding_action")
    assert manager(told).xff_num_trusted_hops == 0


def test_tls_and_access_are_those_of_the_service() -> None:
    def seen(text: str, trust_domain: str) -> tuple[bool, list[str]]:
        told = listener(world(service(text=text), trust_domain=trust_domain))
        filters = [each.name for each in manager(told).http_filters]
        return told.default_filter_chain.HasField("transport_socket"), filters

    assert seen("", TRUST_DOMAIN) == (False, [ROUTER])
    assert seen(MUTUAL, TRUST_DOMAIN) == (True, [ROUTER])
    assert seen(RULED, TRUST_DOMAIN) == (True, [ACCESS, ROUTER])
    assert seen(MUTUAL, "") == (False, [ROUTER])
    assert seen(RULED, "") == (False, [ACCESS, ROUTER]), "it lets nobody call, rather than everybody"


def test_where_there_are_identities_a_server_of_no_service_does_not_serve() -> None:
    secured, plain = world(service(text=MUTUAL), trust_domain=TRUST_DOMAIN), world()
    assert server_listener(secured, NAME, NOBODY) is None
    assert server_listener(secured, NAME, Node(id="n")) is None
    assert server_listener(plain, NAME, NOBODY) is not None
    assert server_listener(plain, NAME, Node(id="n")) is not None


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0:50051", "0.0.0.0", 50051),
        ("[::]:1", "::", 1),
        ("[::1]:65535", "::1", 65535),
        ("10.0.0.1:8", "10.0.0.1", 8),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    address = socket_address(text)
    assert address is not None
    assert (address.address, address.port_value) == (host, port)


NO_HOSTS = ["", ":", ":50051", "localhost:80", "unix:/run/x", "[::]", "1.2.3:80", "[0.0.0.0:80"]
NO_PORTS = [f"0.0.0.0{port}" for port in ("", ":", ":0", ":65536", ":-1", ":x", ":1_0", ": 80", ":\u0663")]


@pytest.mark.parametrize("text", [*NO_HOSTS, *NO_PORTS])
def test_what_is_no_address_has_no_listener(text: str) -> None:
    assert socket_address(text) is None
    assert server_listener(world(service(ECHO)), f"{PREFIX}{text}", PYTHON) is None
