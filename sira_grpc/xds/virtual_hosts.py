"""Virtual hosts: the routes of one service, and what the filters of a client do with the calls to it.

What configures a filter is said once for all routes, of the virtual host; a route says what differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from envoy.config.route.v3.route_components_pb2 import Route as XdsRoute
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from sira.registry.v1.route_pb2 import Route
from sira.registry.v1.service_pb2 import Service

from sira_grpc.xds.faults import http_fault
from sira_grpc.xds.http_filters import FAULT, SESSION, keeps_sessions
from sira_grpc.xds.names import short
from sira_grpc.xds.node import Node
from sira_grpc.xds.packing import packed
from sira_grpc.xds.route_actions import mirror_policy, route_action
from sira_grpc.xds.route_matches import every_call, route_matches
from sira_grpc.xds.session_affinity import stateful_session

_DEFAULT = "default"


def virtual_host(service: Service, domains: Iterable[str], node: Node) -> VirtualHost:
    """Returns the virtual host of a service for a client that calls it by some domains."""
    policy = service.traffic_policy
    host = VirtualHost(name=short(service.name), domains=domains, routes=_routes(service, node))
    if policy.HasField("fault"):
        host.typed_per_filter_config[FAULT].CopyFrom(packed(http_fault(policy.fault)))
    if keeps_sessions(policy, node):
        host.typed_per_filter_config[SESSION].CopyFrom(packed(stateful_session(policy.session_affinity)))
    if node.envoy and policy.HasField("mirror"):
        host.request_mirror_policies.append(mirror_policy(service, policy.mirror))
    return host


def unmatched_route(service: Service, number: int, node: Node) -> XdsRoute:
    """Returns what becomes of the calls of a route of a service, the match left out."""
    route = service.traffic_policy.routes[number]
    told = XdsRoute(name=f"routes[{number}]", route=route_action(service, route, node))
    if route.HasField("fault"):
        told.typed_per_filter_config[FAULT].CopyFrom(packed(http_fault(route.fault)))
    return told


def _routes(service: Service, node: Node) -> Iterator[XdsRoute]:
    for number, route in enumerate(service.traffic_policy.routes):
        unmatched = unmatched_route(service, number, node).SerializeToString(deterministic=True)
        for match in route_matches(route, node):
            told = XdsRoute.FromString(unmatched)
            told.match.CopyFrom(match)
            yield told
    yield XdsRoute(name=_DEFAULT, match=every_call(), route=route_action(service, Route(), node))
