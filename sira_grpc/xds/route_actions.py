"""Actions of routes: where the calls of a route go, and how long they may take. Sources: gRFCs A28, A31 and A42."""

from __future__ import annotations

from datetime import timedelta

from envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from envoy.config.route.v3.route_components_pb2 import RetryPolicy, RouteAction, WeightedCluster
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value
from sira.registry.v1.route_pb2 import Mirror, Route
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, TrafficPolicy

from sira_grpc.registry.policy_checks import destinations
from sira_grpc.xds.faults import percentage
from sira_grpc.xds.names import Target, cluster
from sira_grpc.xds.node import C_CORE, Node
from sira_grpc.xds.retries import retry_policy, transparent_retries

EARLY = {C_CORE: timedelta(seconds=2)}
"""By how much, at most, the bound that a kind is told of ends calls too early.

C-core counts the bound from a start of the process in whole seconds, less one, and the start of a call from the exact
one: calls end 1 to 2 s early, and those with a shorter bound at once. Seen with grpcio 1.60 to 1.85, also without xDS.
It is told of so much more that no call ends early; one may end up to 1 s late.
"""
HASH_HEADER = "sira-hash-key"
"""Key of the metadata that is hashed, where a policy names none."""


def route_action(service: Service, route: Route, node: Node) -> RouteAction:
    """Returns what becomes of the calls of a route.

    An Envoy has no bound of its own on how long calls take: streams may last. The bound of a policy is one on the
    stream as a whole, retries included: that is what ends with DEADLINE_EXCEEDED.
    """
    policy = service.traffic_policy
    told = RouteAction(**_destination(service, route))
    if node.envoy:
        told.timeout.CopyFrom(Duration())
        if route.HasField("mirror"):
            told.request_mirror_policies.append(mirror_policy(service, route.mirror))
    timeout = (route.timeout if route.HasField("timeout") else policy.timeout).ToTimedelta()
    if timeout:
        timeout += EARLY.get(node.kind, timedelta())
        told.max_stream_duration.max_stream_duration.FromTimedelta(timeout)
        told.max_stream_duration.grpc_timeout_header_max.FromTimedelta(timeout)
    if (retries := _retries(policy, route, node)) is not None:
        told.retry_policy.CopyFrom(retries)
    if _hashed(service):
        told.hash_policy.add().header.header_name = policy.hash_header or HASH_HEADER
    return told


def _retries(policy: TrafficPolicy, route: Route, node: Node) -> RetryPolicy | None:
    """Returns the retries of a route. They are not left to the virtual host: gRPC for Java looks in routes only."""
    if route.HasField("retry"):
        return retry_policy(route.retry, node)
    if policy.HasField("retry"):
        return retry_policy(policy.retry, node)
    return transparent_retries() if node.envoy else None


def mirror_policy(service: Service, mirror: Mirror) -> RouteAction.RequestMirrorPolicy:
    """Returns what an Envoy is told of a mirror."""
    return RouteAction.RequestMirrorPolicy(
        cluster=cluster(Target.of(mirror.destination, service.name)),
        runtime_fraction=RuntimeFractionalPercent(default_value=percentage(mirror.percent)),
        disable_shadow_host_suffix_append=True,
    )


def _destination(service: Service, route: Route) -> dict[str, str | WeightedCluster]:
    weights: dict[str, int] = {}
    for split in route.splits:
        if split.weight:
            name = cluster(Target.of(split.destination, service.name))
            weights[name] = weights.get(name, 0) + split.weight
    if not weights:
        return {"cluster": cluster(Target(service.name))}
    if len(weights) == 1:
        return {"cluster": next(iter(weights))}
    shares = [
        WeightedCluster.ClusterWeight(name=name, weight=UInt32Value(value=weight)) for name, weight in weights.items()
    ]
    return {"weighted_clusters": WeightedCluster(clusters=shares)}


def _hashed(service: Service) -> bool:
    """Whether calls are told by their key: the service wants it, or another one may, to which some of them go."""
    policy: TrafficPolicy = service.traffic_policy
    if policy.lb_policy == LbPolicy.LB_POLICY_RING_HASH:
        return True
    return any(destination.service not in ("", service.name) for _, destination in destinations(policy))
