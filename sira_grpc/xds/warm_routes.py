"""Warm routes: those that no call takes, and that have a client keep clusters ready (see transitions)."""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from envoy.config.route.v3.route_components_pb2 import Route as XdsRoute
from envoy.config.route.v3.route_components_pb2 import RouteAction, WeightedCluster
from google.protobuf.wrappers_pb2 import UInt32Value
from sira.registry.v1.service_pb2 import Service

from sira_grpc.xds.faults import percentage
from sira_grpc.xds.names import Target, cluster
from sira_grpc.xds.node import GO, NODE_JS, Node
from sira_grpc.xds.route_matches import every_call
from sira_grpc.xds.world import World

IN_STEPS = frozenset({GO})
"""The kinds for which policies take effect in two steps."""
KEPT_WARM = IN_STEPS | {NODE_JS}
"""The kinds that keep the clusters to which they were led lately.

Node takes a cluster that it has asked for, dropped before there was an answer and asked for again for one that does not
exist, 15 s after it has dropped it (@grpc/grpc-js-xds 1.14: its timer goes on), until the cluster changes.
"""

_NAME = "warm"
_ONE = UInt32Value(value=1)


def in_effect(world: World, service: Service, node: Node) -> Service:
    """Returns a service with the policy that a client has by now."""
    before = world.transitions.policy(service.name) if node.kind in IN_STEPS else None
    if before is None:
        return service
    return Service(name=service.name, traffic_policy=before)


def warm_route(world: World, service: Service, node: Node) -> XdsRoute | None:
    """Returns the route that keeps clusters ready to which a client is soon led, or was lately; None without any.

    Args:
        world: the registry, among others.
        service: as it is in effect.
        node: the client.
    """
    if node.kind not in KEPT_WARM:
        return None
    references = world.references
    waits = node.kind in IN_STEPS and world.transitions.policy(service.name) is not None
    ready = references.made(service.name) if waits else references.lingering(service.name)
    splits = [split for route in service.traffic_policy.routes for split in route.splits]
    # A share of nothing is left out of the routes, and with it the cluster.
    every, led = (
        {Target.of(split.destination, service.name) for split in splits if split.weight >= least} for least in (0, 1)
    )
    idle = (ready | every) - led
    clusters = sorted(cluster(t) for t in idle if t.service in world.view.services and t != Target(service.name))
    if not clusters:
        return None
    kept = WeightedCluster(clusters=[WeightedCluster.ClusterWeight(name=name, weight=_ONE) for name in clusters])
    never = every_call()
    never.runtime_fraction.CopyFrom(RuntimeFractionalPercent(default_value=percentage(0)))
    return XdsRoute(name=_NAME, match=never, route=RouteAction(weighted_clusters=kept))
