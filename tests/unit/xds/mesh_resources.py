"""What clients of a mesh read of the resources that they are sent: their names, and what they refer to."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.service.discovery.v3.discovery_pb2 import Resource

from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES

KEPT = 4096
"""Resources of which it is remembered what they refer to."""

_MESSAGES = {
    LISTENER: Listener,
    ROUTES: RouteConfiguration,
    CLUSTER: Cluster,
    ENDPOINTS: ClusterLoadAssignment,
}


def bodies_by_name(response: Any) -> dict[str, bytes]:
    """Returns the bodies in a response of either form. Those that only say that they are as they were have none."""
    resources = (_resource(each) for each in response.resources)
    told = (resource for resource in resources if resource.type_url)
    return {_name(resource.type_url, resource.value): resource.value for resource in told}


def _resource(each: Any) -> Any:
    if isinstance(each, Resource):
        return each.resource
    if each.type_url.endswith("discovery.v3.Resource"):
        return Resource.FromString(each.value).resource
    return each


@lru_cache(KEPT)
def _name(type_url: str, body: bytes) -> str:
    message = _MESSAGES[type_url].FromString(body)
    return str(message.cluster_name if type_url == ENDPOINTS else message.name)


@lru_cache(KEPT)
def routes_of(listener: bytes) -> str:
    """Returns the name of the routes that a listener of a client of gRPC refers to."""
    connections = HttpConnectionManager()
    Listener.FromString(listener).api_listener.api_listener.Unpack(connections)
    return str(connections.rds.route_config_name)


@lru_cache(KEPT)
def clusters_of(routes: bytes) -> frozenset[str]:
    """Returns the clusters that routes refer to, also those to which no call goes."""
    return frozenset(_clusters(routes, idle=True))


@lru_cache(KEPT)
def called_by(routes: bytes) -> frozenset[str]:
    """Returns the clusters to which routes lead calls, or copies of them."""
    return frozenset(_clusters(routes, idle=False))


def _clusters(routes: bytes, *, idle: bool) -> Iterator[str]:
    for host in RouteConfiguration.FromString(routes).virtual_hosts:
        yield from (mirror.cluster for mirror in host.request_mirror_policies)
        for route in host.routes:
            if route.HasField("route") and (idle or not _never(route.match)):
                yield from _led_to(route.route)


def _led_to(action: Any) -> Iterator[str]:
    yield from (each.name for each in action.weighted_clusters.clusters)
    yield from (mirror.cluster for mirror in action.request_mirror_policies)
    if action.cluster:
        yield action.cluster


def _never(match: Any) -> bool:
    return bool(match.HasField("runtime_fraction") and not match.runtime_fraction.default_value.numerator)
