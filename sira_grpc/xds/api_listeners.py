"""Listeners of clients of gRPC: under the name of a service, where its routes are and what calls pass through."""

from __future__ import annotations

from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.listener.v3.api_listener_pb2 import ApiListener
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    Rds,
)
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.xds import http_filters
from sira_grpc.xds.names import service_named, short
from sira_grpc.xds.node import GO, NODE_JS, Node
from sira_grpc.xds.packing import packed
from sira_grpc.xds.world import World

WAITS_FOR_MISSING = frozenset({GO, NODE_JS})
"""Kinds that wait for what is missing, and fail with UNAVAILABLE where there are no routes; Java's, with INTERNAL."""


def rds(name: str) -> Rds:
    """Returns where routes come from: the stream that says so."""
    source = ConfigSource(resource_api_version=ApiVersion.V3, ads=AggregatedConfigSource())
    return Rds(config_source=source, route_config_name=name)


def api_listener(world: World, name: str, node: Node) -> Listener | None:
    """Returns the listener of `{svc}.{ns}`, or `{svc}` in the client's namespace; None if there is no such service.

    Clients that do not read errors of resources would wait 15 s for a service that is not there. They get a listener
    without routes, and so calls fail at once, until there is one.
    """
    asked = service_named(name, node.namespace)
    entry = world.view.services.get(asked)
    if entry is None:
        return _nowhere(name) if asked and node.kind in WAITS_FOR_MISSING else None
    service = entry.message
    manager = HttpConnectionManager(
        rds=rds(short(service.name)), http_filters=http_filters.of_caller(service.traffic_policy, node)
    )
    return Listener(name=name, api_listener=ApiListener(api_listener=packed(manager)))


def _nowhere(name: str) -> Listener:
    routes = RouteConfiguration(name=name, virtual_hosts=[VirtualHost(name=name, domains=["*"])])
    manager = HttpConnectionManager(
        route_config=routes, http_filters=http_filters.of_caller(TrafficPolicy(), Node(id=""))
    )
    return Listener(name=name, api_listener=ApiListener(api_listener=packed(manager)))
