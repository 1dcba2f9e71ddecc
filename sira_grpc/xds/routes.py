"""Route configurations, of every kind of client, by name."""

from __future__ import annotations

from envoy.config.route.v3.route_pb2 import RouteConfiguration

from sira_grpc.xds.egress_routes import egress_routes
from sira_grpc.xds.faults import mark
from sira_grpc.xds.inbound_routes import inbound_routes
from sira_grpc.xds.names import EGRESS, INBOUND, service_named
from sira_grpc.xds.node import C_CORE, NODE_JS, Node
from sira_grpc.xds.reachable import reachable
from sira_grpc.xds.virtual_hosts import virtual_host
from sira_grpc.xds.warm_routes import in_effect, warm_route
from sira_grpc.xds.world import World

_ANY_HOST = "*"


def build(world: World, name: str, node: Node) -> RouteConfiguration | bytes | None:
    """Returns the routes of a service, or of a listener of a sidecar; None if there is none such.

    Those of all services come serialized, put together from pieces that are kept.
    """
    if node.envoy and name == EGRESS:
        return egress_routes(world, node)
    if node.envoy and name.startswith(INBOUND):
        return inbound_routes(world, name, node)
    entry = world.view.services.get(service_named(name, ""))
    if entry is None:
        return None
    service = reachable(in_effect(world, entry.message, node), world.view.services)
    domains = [_ANY_HOST]
    if node.kind in (C_CORE, NODE_JS) and (marked := mark(service.traffic_policy)):
        domains.append(marked)
    host = virtual_host(service, domains, node)
    if (warm := warm_route(world, service, node)) is not None:
        host.routes.insert(0, warm)
    return RouteConfiguration(name=name, virtual_hosts=[host])
