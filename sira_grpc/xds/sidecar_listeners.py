"""Listeners of sidecars: `egress` for the calls of its service, `inbound:{port}` for those to it."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import BoolValue

from sira_grpc.xds import http_filters, rbac, tls
from sira_grpc.xds.api_listeners import rds
from sira_grpc.xds.names import EGRESS, INBOUND
from sira_grpc.xds.node import Node
from sira_grpc.xds.packing import packed
from sira_grpc.xds.server_listeners import MANAGER, serves
from sira_grpc.xds.world import World

_LOOPBACK = "127.0.0.1"
_EVERYWHERE = "0.0.0.0"


def sidecar_names(world: World, node: Node) -> frozenset[str]:
    """Returns the names of the listeners of a sidecar."""
    inbound = {f"{INBOUND}{each.port}" for each in node.inbound} if serves(world, node) else set()
    return frozenset(inbound | ({EGRESS} if node.egress_port else set()))


def sidecar_listener(world: World, name: str, node: Node) -> Listener | None:
    """Returns a listener of a sidecar; None if it has none of that name."""
    if name not in sidecar_names(world, node):
        return None
    return _egress(node) if name == EGRESS else _inbound(world, name, node)


def _egress(node: Node) -> Listener:
    manager = _manager(EGRESS, rds=rds(EGRESS), http_filters=http_filters.of_egress())
    return _listener(EGRESS, _LOOPBACK, node.egress_port, FilterChain(filters=[_network_filter(manager)]))


def _inbound(world: World, name: str, node: Node) -> Listener:
    """Returns the listener for calls to the service. It tells the service who calls: `x-forwarded-client-cert`.

    Who may call is in its routes: a change of routes counts for open connections too, one of a listener does not.
    """
    manager = _manager(name, rds=rds(name), http_filters=http_filters.of_inbound(rbac.nobody()))
    socket = tls.downstream(world, node)
    if socket is not None:
        manager.forward_client_cert_details = HttpConnectionManager.ForwardClientCertDetails.SANITIZE_SET
        manager.set_current_client_cert_details.uri = True
    chain = FilterChain(filters=[_network_filter(manager)], transport_socket=socket)
    return _listener(name, _EVERYWHERE, int(name.removeprefix(INBOUND)), chain)


def _manager(name: str, **config: Any) -> HttpConnectionManager:
    """Returns a connection manager that lets streams last as long as they like."""
    manager = HttpConnectionManager(
        stat_prefix=name,
        codec_type=HttpConnectionManager.CodecType.AUTO,
        stream_idle_timeout=Duration(),
        server_header_transformation=HttpConnectionManager.ServerHeaderTransformation.PASS_THROUGH,
        use_remote_address=BoolValue(value=True),
        skip_xff_append=True,
        generate_request_id=BoolValue(value=False),
        **config,
    )
    manager.common_http_protocol_options.idle_timeout.CopyFrom(Duration())
    return manager


def _network_filter(manager: HttpConnectionManager) -> Filter:
    return Filter(name=MANAGER, typed_config=packed(manager))


def _listener(name: str, host: str, port: int, chain: FilterChain) -> Listener:
    direction = TrafficDirection.OUTBOUND if name == EGRESS else TrafficDirection.INBOUND
    return Listener(
        name=name,
        address=Address(socket_address=SocketAddress(address=host, port_value=port)),
        traffic_direction=direction,
        filter_chains=[chain],
    )
