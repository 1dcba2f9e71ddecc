"""Clusters: how clients connect to a service, or to a part of it, and what they bear from it."""

from __future__ import annotations

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.base_pb2 import RoutingPriority
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource, SelfConfigSource
from envoy.config.core.v3.health_check_pb2 import HealthStatus, HealthStatusSet
from envoy.config.core.v3.protocol_pb2 import Http2ProtocolOptions
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from envoy.type.v3.percent_pb2 import Percent
from google.protobuf.wrappers_pb2 import UInt32Value
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.xds import tls
from sira_grpc.xds.http_filters import KEEP_SESSIONS
from sira_grpc.xds.lb_policies import lb_policy
from sira_grpc.xds.names import INBOUND, target_named
from sira_grpc.xds.node import JAVA, NODE_JS, Inbound, Node
from sira_grpc.xds.outlier_detection import outlier_detection
from sira_grpc.xds.packing import packed
from sira_grpc.xds.world import World

DEFAULT_BOUND = 1024
"""Of calls under way, calls that wait, connections."""
UNBOUND = 1_000_000
LOOPBACK = "127.0.0.1"

_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_KEPT = (HealthStatus.UNKNOWN, HealthStatus.HEALTHY, HealthStatus.DRAINING)


def build(world: World, name: str, node: Node) -> Cluster | None:
    """Returns the cluster of a name for a client; None if there is none."""
    if name.startswith(INBOUND):
        return _inbound(name, node)
    target = target_named(name)
    service = world.view.services.get(target.service) if target is not None else None
    if target is None or service is None:
        return None
    policy = service.message.traffic_policy
    cluster = Cluster(
        name=name,
        type=Cluster.DiscoveryType.EDS,
        eds_cluster_config=Cluster.EdsClusterConfig(eds_config=_over_ads(), service_name=name),
        load_balancing_policy=lb_policy(policy, node),
    )
    if policy.HasField("circuit_breakers") or (node.envoy and policy.HasField("retry")):
        cluster.circuit_breakers.CopyFrom(_circuit_breakers(policy, node))
    # Node does not notice one that is new (@grpc/grpc-js-xds 1.14 compares what there was before): it always has one.
    if policy.HasField("outlier_detection") or node.kind == NODE_JS:
        cluster.outlier_detection.CopyFrom(outlier_detection(policy.outlier_detection, node))
    if policy.HasField("session_affinity") and node.kind in KEEP_SESSIONS:
        cluster.common_lb_config.override_host_status.CopyFrom(HealthStatusSet(statuses=_KEPT))
    socket = tls.upstream(world, target.service, node)
    if socket is not None:
        cluster.transport_socket.CopyFrom(socket)
    if node.envoy:
        _for_envoy(cluster)
    elif node.kind == JAVA or (world.load_report_interval and (node.identity or not world.trust_domain)):
        # Who has no identity may not report. Java counts for its circuit breakers only where it is to (grpc-java 1.85).
        cluster.lrs_server.self.CopyFrom(SelfConfigSource())
    return cluster


def _over_ads() -> ConfigSource:
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


def _for_envoy(cluster: Cluster) -> None:
    """Has an Envoy speak HTTP/2, and do as the kernel says of the health of endpoints."""
    cluster.typed_extension_protocol_options[_HTTP].CopyFrom(packed(_http2()))
    # The kernel says itself when unhealthy endpoints are better than none: none must be tried at random.
    cluster.common_lb_config.healthy_panic_threshold.CopyFrom(Percent(value=0))
    cluster.ignore_health_on_host_removal = True


def _http2() -> HttpProtocolOptions:
    return HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptions.ExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    )


def _circuit_breakers(policy: TrafficPolicy, node: Node) -> CircuitBreakers:
    """Returns the bounds of a cluster. In an Envoy, of retries too: its own, 3, is below what policies ask for."""
    told = policy.circuit_breakers
    calls = told.max_requests or DEFAULT_BOUND
    bounds = CircuitBreakers.Thresholds(
        priority=RoutingPriority.DEFAULT, max_requests=UInt32Value(value=calls), max_retries=_for(node, calls)
    )
    if node.envoy:
        bounds.max_pending_requests.value = told.max_pending_requests or DEFAULT_BOUND
        bounds.max_connections.value = told.max_connections or DEFAULT_BOUND
    return CircuitBreakers(thresholds=[bounds])


def _for(node: Node, bound: int) -> UInt32Value | None:
    return UInt32Value(value=bound) if node.envoy else None


def _inbound(name: str, node: Node) -> Cluster | None:
    """Returns the cluster of the service that a sidecar is for, on the loopback of its host."""
    port = next((each for each in node.inbound if f"{INBOUND}{each.port}" == name), None)
    if port is None or not node.envoy:
        return None
    bound = UInt32Value(value=UNBOUND)
    thresholds = CircuitBreakers.Thresholds(
        max_requests=bound, max_pending_requests=bound, max_connections=bound, max_retries=bound
    )
    cluster = Cluster(
        name=name,
        type=Cluster.DiscoveryType.STATIC,
        load_assignment=_at(name, port),
        circuit_breakers=CircuitBreakers(thresholds=[thresholds]),
    )
    _for_envoy(cluster)
    return cluster


def _at(name: str, port: Inbound) -> ClusterLoadAssignment:
    address = Address(socket_address=SocketAddress(address=LOOPBACK, port_value=port.target_port))
    endpoint = LbEndpoint(endpoint=Endpoint(address=address))
    return ClusterLoadAssignment(cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])])
