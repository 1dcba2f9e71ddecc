"""Listeners of sidecars, and the routes of their inbound side."""

from __future__ import annotations

from dataclasses import replace

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC, RBACPerRoute
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from sira_grpc.xds import rbac, routes
from sira_grpc.xds.http_filters import ACCESS, FAULT, ROUTER, SESSION
from sira_grpc.xds.node import Inbound, Node
from sira_grpc.xds.sidecar_listeners import sidecar_listener, sidecar_names
from sira_grpc.xds.world import World
from tests.unit.xds.policies import ENVOY_NODE, MUTUAL, SIDECAR, TRUST_DOMAIN, service, world

INBOUND = "inbound:15006"
RULED = f'{MUTUAL} access_policy {{ allow {{ sources: "namespaces/-/services/-" }} }}'
PLAIN = world(service())
SECURED = world(service(text=RULED), trust_domain=TRUST_DOMAIN)


def listener(where: World, name: str, node: Node) -> Listener:
    told = sidecar_listener(where, name, node)
    assert told is not None
    assert told.name == name
    return told


def manager(told: Listener) -> HttpConnectionManager:
    ((only,),) = (each.filters for each in told.filter_chains)
    config = HttpConnectionManager()
    assert only.typed_config.Unpack(config)
    return config


def inbound_routes(where: World) -> RouteConfiguration:
    told = routes.build(where, INBOUND, SIDECAR)
    assert told is not None
    return told


def at(told: Listener) -> tuple[str, int]:
    return told.address.socket_address.address, told.address.socket_address.port_value


def test_an_egress_is_on_loopback_and_has_its_routes_from_the_stream() -> None:
    told = listener(SECURED, "egress", ENVOY_NODE)
    assert at(told) == ("127.0.0.1", 15001)
    assert manager(told).rds.route_config_name == "egress"
    assert [each.name for each in manager(told).http_filters] == [FAULT, SESSION, ROUTER]
    assert not told.filter_chains[0].HasField("transport_socket")


def test_an_egress_stays_the_same_whatever_changes() -> None:
    """A listener that changes drains the connections of the service."""
    assert listener(SECURED, "egress", ENVOY_NODE) == listener(world(), "egress", ENVOY_NODE)


def test_an_inbound_side_takes_certificates_and_tells_the_service_whose() -> None:
    told = listener(SECURED, INBOUND, SIDECAR)
    assert at(told) == ("0.0.0.0", 15006)
    assert told.filter_chains[0].HasField("transport_socket")
    config = manager(told)
    assert config.forward_client_cert_details == HttpConnectionManager.ForwardClientCertDetails.SANITIZE_SET
    assert config.set_current_client_cert_details.uri


def test_an_inbound_side_in_plaintext_does_not_believe_who_callers_say_they_are() -> None:
    told = listener(PLAIN, INBOUND, SIDECAR)
    assert not told.filter_chains[0].HasField("transport_socket")
    assert manager(told).forward_client_cert_details == HttpConnectionManager.ForwardClientCertDetails.SANITIZE


@pytest.mark.parametrize("where", [PLAIN, SECURED])
def test_an_inbound_side_lets_nobody_in_before_it_has_its_routes(where: World) -> None:
    config = manager(listener(where, INBOUND, SIDECAR))
    access = RBAC()
    assert config.http_filters[0].typed_config.Unpack(access)
    assert access == rbac.nobody()
    assert config.rds.route_config_name == INBOUND


def test_rules_of_access_change_no_listener() -> None:
    """Connections that are open would keep to the old rules."""
    other = world(service(text=f"{MUTUAL} access_policy {{}}"), trust_domain=TRUST_DOMAIN)
    assert listener(SECURED, INBOUND, SIDECAR) == listener(other, INBOUND, SIDECAR)
    assert inbound_routes(SECURED) != inbound_routes(other)


def test_inbound_routes_lead_to_the_service_with_the_rules_of_access() -> None:
    def rules(where: World) -> RBACPerRoute:
        (host,) = inbound_routes(where).virtual_hosts
        (route,) = host.routes
        assert (list(host.domains), route.match.prefix, route.route.cluster) == (["*"], "/", INBOUND)
        assert route.route.HasField("timeout")
        assert not route.route.timeout.ToTimedelta()
        told = RBACPerRoute()
        assert host.typed_per_filter_config[ACCESS].Unpack(told)
        return told

    assert rules(SECURED).rbac == rbac.access(SECURED, SIDECAR)
    assert not rules(PLAIN).HasField("rbac"), "which lets everybody in"


@pytest.mark.parametrize(("node", "name"), [(SIDECAR, INBOUND), (ENVOY_NODE, "egress")])
def test_streams_may_last(node: Node, name: str) -> None:
    config = manager(listener(SECURED, name, node))
    for duration in (config.stream_idle_timeout, config.common_http_protocol_options.idle_timeout):
        assert not duration.ToTimedelta()
    assert config.HasField("stream_idle_timeout")
    assert config.common_http_protocol_options.HasField("idle_timeout")


def test_names() -> None:
    both = replace(SIDECAR, egress_port=15001, inbound=(Inbound(15006, 1), Inbound(15007, 2)))
    assert sidecar_names(PLAIN, both) == {"egress", "inbound:15006", "inbound:15007"}
    assert sidecar_names(PLAIN, replace(both, inbound=(), egress_port=0)) == frozenset()


def test_where_there_are_identities_a_sidecar_of_no_service_takes_no_calls() -> None:
    stranger = replace(SIDECAR, egress_port=15001, service="namespaces/shop/services/nobody")
    assert sidecar_names(SECURED, stranger) == {"egress"}
    assert sidecar_names(PLAIN, stranger) == {"egress", INBOUND}
    assert sidecar_listener(SECURED, INBOUND, stranger) is None
    assert routes.build(SECURED, INBOUND, stranger) is None


@pytest.mark.parametrize("name", ["inbound:15007", "inbound:", "inbound:x", "inbound:015006", "outbound", ""])
def test_a_sidecar_has_no_others(name: str) -> None:
    assert sidecar_listener(PLAIN, name, SIDECAR) is None
    assert routes.build(PLAIN, name, SIDECAR) is None
