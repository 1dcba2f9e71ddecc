"""Listeners of clients of gRPC: under the name of a service, where its routes are and what calls pass through."""

from __future__ import annotations

from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.listener.v3.api_listener_pb2 import ApiListener
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    Rds,
)

from sira_grpc.xds import http_filters
from sira_grpc.xds.names import service_named, short
from sira_grpc.xds.node import Node
from sira_grpc.xds.packing import packed
from sira_grpc.xds.world import World


def rds(name: str) -> Rds:
    """Returns where routes come from: the stream that says so."""
    source = ConfigSource(resource_api_version=ApiVersion.V3, ads=AggregatedConfigSource())
    return Rds(config_source=source, route_config_name=name)


def api_listener(world: World, name: str, node: Node) -> Listener | None:
    """Returns the listener of `{svc}.{ns}`, or `{svc}` in the client's namespace; None if there is no such service."""
    entry = world.view.services.get(service_named(name, node.namespace))
    if entry is None:
        return None
    service = entry.message
    manager = HttpConnectionManager(
        rds=rds(short(service.name)), http_filters=http_filters.of_caller(service.traffic_policy, node)
    )
    return Listener(name=name, api_listener=ApiListener(api_listener=packed(manager)))
