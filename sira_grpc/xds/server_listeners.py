"""Listeners of servers: what one takes connections with, and whose calls it lets through. Sources: gRFCs A36 and A41.

Where there are identities, a server has to say which service it is of, and that service has to be registered: until
then it gets no listener, and serves nothing. It would be open to everybody otherwise.
"""

from __future__ import annotations

from ipaddress import ip_address

from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import NonForwardingAction, Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)

from sira_grpc.xds import http_filters, rbac, tls
from sira_grpc.xds.names import SERVER
from sira_grpc.xds.node import Node
from sira_grpc.xds.packing import packed
from sira_grpc.xds.route_matches import every_call
from sira_grpc.xds.world import World

MANAGER = "envoy.filters.network.http_connection_manager"


def serves(world: World, node: Node) -> bool:
    """Whether a client may take calls: it is of a service that is registered, or there are no identities."""
    return not world.trust_domain or node.service in world.view.services


def server_listener(world: World, name: str, node: Node) -> Listener | None:
    """Returns the listener of a server of gRPC; None if it may have none, or the name is not of an IP address."""
    address = socket_address(name.removeprefix(SERVER))
    if address is None or not serves(world, node):
        return None
    hosts = [VirtualHost(name="*", domains=["*"], routes=[_here()])]
    manager = HttpConnectionManager(
        route_config=RouteConfiguration(name="inbound", virtual_hosts=hosts),
        http_filters=http_filters.of_server(rbac.access(world, node)),
    )
    return Listener(
        name=name,
        address=Address(socket_address=address),
        traffic_direction=TrafficDirection.INBOUND,
        default_filter_chain=FilterChain(
            filters=[Filter(name=MANAGER, typed_config=packed(manager))], transport_socket=tls.downstream(world, node)
        ),
    )


def socket_address(text: str) -> SocketAddress | None:
    """Returns the address of `{IP address}:{port}`, an IPv6 address in brackets; None if it is none."""
    host, _, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65536:
        return None
    try:
        ip_address(host)
    except ValueError:
        return None
    return SocketAddress(address=host, port_value=int(port))


def _here() -> Route:
    return Route(name="default", match=every_call(), non_forwarding_action=NonForwardingAction())
