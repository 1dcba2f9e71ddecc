"""Load balancing policies: how a client spreads its calls over the endpoints that it is sent.

A client of gRPC takes the first policy of a list that it knows; each list ends in round robin, which all know. It
honours weights of localities, where `wrr_locality` is around its policy, but of endpoints under ring hash alone: see
localities. An Envoy honours those of endpoints. Sources: gRFCs A42, A48, A52, A58; Envoy's load balancing policies.
"""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import LoadBalancingPolicy
from envoy.config.core.v3.base_pb2 import RuntimeDouble
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3 import (
    client_side_weighted_round_robin_pb2 as orca,
)
from envoy.extensions.load_balancing_policies.common.v3.common_pb2 import SlowStartConfig
from envoy.extensions.load_balancing_policies.least_request.v3.least_request_pb2 import LeastRequest
from envoy.extensions.load_balancing_policies.random.v3.random_pb2 import Random
from envoy.extensions.load_balancing_policies.ring_hash.v3.ring_hash_pb2 import RingHash
from envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2 import RoundRobin
from envoy.extensions.load_balancing_policies.wrr_locality.v3.wrr_locality_pb2 import WrrLocality
from envoy.type.v3.percent_pb2 import Percent
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt32Value, UInt64Value
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, TrafficPolicy
from sira_client.balancing.slow_start import DEFAULT_AGGRESSION, DEFAULT_MIN_WEIGHT_SHARE

from sira_grpc.xds.node import NODE_JS, Node
from sira_grpc.xds.packing import packed
from sira_grpc.xds.ramps import ramps

MIN_RING_SIZE = 1024
MAX_RING_SIZE = 1 << 16
CHOICES = 2
"""Endpoints of which the least loaded is taken, under least request."""

_BY_LOCALITY = frozenset({LbPolicy.LB_POLICY_WEIGHTED, LbPolicy.LB_POLICY_LEAST_REQUEST})
_PREFIX = "envoy.load_balancing_policies."


def by_locality(policy: TrafficPolicy) -> bool:
    """Whether clients of gRPC are to draw a locality by weight first: weights differ, or tiers share the calls."""
    if policy.lb_policy == LbPolicy.LB_POLICY_RING_HASH:
        return False
    return policy.lb_policy in _BY_LOCALITY or policy.HasField("locality_failover") or ramps(policy)


def lb_policy(policy: TrafficPolicy, node: Node) -> LoadBalancingPolicy:
    """Returns the policies that a client is to take the first of that it knows."""
    if node.envoy:
        return _list(_envoy(policy))
    picking = [each for each in (_grpc(policy, node), RoundRobin()) if each is not None]
    if by_locality(policy):
        return _list(WrrLocality(endpoint_picking_policy=_list(*picking)))
    return _list(*picking)


def _grpc(policy: TrafficPolicy, node: Node) -> Message | None:
    """Returns what some clients of gRPC know beside round robin."""
    made: Message | None = None
    match policy.lb_policy:
        case LbPolicy.LB_POLICY_LEAST_REQUEST:
            made = LeastRequest(choice_count=UInt32Value(value=CHOICES))
        case LbPolicy.LB_POLICY_RING_HASH:
            # Node reads sizes of rings as text, and rejects them (@grpc/grpc-js-xds 1.14).
            made = RingHash(hash_function=RingHash.HashFunction.XX_HASH) if node.kind == NODE_JS else _ring_hash()
        case LbPolicy.LB_POLICY_ORCA_WEIGHTED:
            made = orca.ClientSideWeightedRoundRobin()
    return made


def _envoy(policy: TrafficPolicy) -> Message:
    slow_start = _slow_start(policy)
    made: Message = RoundRobin(slow_start_config=slow_start)
    match policy.lb_policy:
        case LbPolicy.LB_POLICY_LEAST_REQUEST:
            made = LeastRequest(choice_count=UInt32Value(value=CHOICES), slow_start_config=slow_start)
        case LbPolicy.LB_POLICY_RING_HASH:
            made = _ring_hash()
        case LbPolicy.LB_POLICY_ORCA_WEIGHTED:
            made = orca.ClientSideWeightedRoundRobin(slow_start_config=slow_start)
        case LbPolicy.LB_POLICY_RANDOM if slow_start is None:  # it knows no weights, and so no slow start
            made = Random()
    return made


def _ring_hash() -> RingHash:
    return RingHash(
        hash_function=RingHash.HashFunction.XX_HASH,
        minimum_ring_size=UInt64Value(value=MIN_RING_SIZE),
        maximum_ring_size=UInt64Value(value=MAX_RING_SIZE),
    )


def _slow_start(policy: TrafficPolicy) -> SlowStartConfig | None:
    if not ramps(policy):
        return None
    told = policy.slow_start
    aggression = told.aggression or DEFAULT_AGGRESSION
    return SlowStartConfig(
        slow_start_window=told.window,
        aggression=RuntimeDouble(default_value=aggression, runtime_key="sira.slow_start.aggression"),
        min_weight_percent=Percent(value=100 * (told.min_weight_share or DEFAULT_MIN_WEIGHT_SHARE)),
    )


def _list(*policies: Message) -> LoadBalancingPolicy:
    made = LoadBalancingPolicy()
    for policy in policies:
        name = _PREFIX + policy.DESCRIPTOR.full_name.split(".")[-3]
        made.policies.add(typed_extension_config=TypedExtensionConfig(name=name, typed_config=packed(policy)))
    return made
