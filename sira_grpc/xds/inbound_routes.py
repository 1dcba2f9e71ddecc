"""Routes of the inbound side of sidecars: all calls that may come go to the service beside it."""

from __future__ import annotations

from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBACPerRoute
from google.protobuf.duration_pb2 import Duration

from sira_grpc.xds import rbac
from sira_grpc.xds.http_filters import ACCESS
from sira_grpc.xds.node import Node
from sira_grpc.xds.packing import packed
from sira_grpc.xds.route_matches import every_call
from sira_grpc.xds.sidecar_listeners import sidecar_names
from sira_grpc.xds.world import World


def inbound_routes(world: World, name: str, node: Node) -> RouteConfiguration | None:
    """Returns the routes of a listener `inbound:{port}`, with who may call; None if the sidecar has none of that name.

    They lead to the cluster of the same name. The service sets its own bounds on how long calls take.
    """
    if name not in sidecar_names(world, node):
        return None
    action = RouteAction(cluster=name, timeout=Duration())
    host = VirtualHost(name=name, domains=["*"], routes=[Route(name="default", match=every_call(), route=action)])
    # Without rules the filter lets everybody through; without this it goes by those of the listener.
    host.typed_per_filter_config[ACCESS].CopyFrom(packed(RBACPerRoute(rbac=rbac.access(world, node))))
    return RouteConfiguration(name=name, virtual_hosts=[host])
