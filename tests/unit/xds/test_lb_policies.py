from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from envoy.extensions.load_balancing_policies.wrr_locality.v3.wrr_locality_pb2 import WrrLocality
from google.protobuf.duration_pb2 import Duration
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, LocalityFailover, SlowStart, TrafficPolicy

from sira_grpc.xds.lb_policies import by_locality, lb_policy
from sira_grpc.xds.node import C_CORE, ENVOY, GO, JAVA, NODE_JS, UNKNOWN, Node

GRPC = [C_CORE, GO, JAVA, NODE_JS, UNKNOWN]
RAMP = SlowStart(window=Duration(seconds=10), min_weight_share=0.2, aggression=2)
# What each kind knows, by its registry of policies; those of WrrLocality hold for what is in it.
KNOWN = {
    C_CORE: {"round_robin", "wrr_locality", "ring_hash", "client_side_weighted_round_robin"},
    GO: {"round_robin", "wrr_locality", "ring_hash", "client_side_weighted_round_robin", "least_request"},
    JAVA: {"round_robin", "wrr_locality", "ring_hash", "client_side_weighted_round_robin", "least_request"},
    NODE_JS: {"round_robin", "wrr_locality", "ring_hash"},
    UNKNOWN: {"round_robin"},
}


def listed(policies: Any) -> list[Any]:
    """The names of the policies of a list, those within another after it."""
    names: list[Any] = []
    for each in policies.policies:
        config = each.typed_extension_config
        name = config.name.removeprefix("envoy.load_balancing_policies.")
        assert config.typed_config.type_url.startswith(
            f"type.googleapis.com/envoy.extensions.load_balancing_policies.{name}"
        )
        inner = WrrLocality.FromString(config.typed_config.value) if name == "wrr_locality" else None
        names.append((name, listed(inner.endpoint_picking_policy)) if inner is not None else name)
    return names


def first(policies: Any, number: int = 0) -> Any:
    config = policies.policies[number].typed_extension_config.typed_config
    module, _, name = config.type_url.removeprefix("type.googleapis.com/").rpartition(".")
    message = getattr(import_module(f"{module}.{module.split('.')[-2]}_pb2"), name)
    return message.FromString(config.value)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (TrafficPolicy(), ["round_robin"]),
        (TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_RANDOM), ["round_robin"]),
        (TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_WEIGHTED), [("wrr_locality", ["round_robin"])]),
        (TrafficPolicy(locality_failover=LocalityFailover()), [("wrr_locality", ["round_robin"])]),
        (TrafficPolicy(slow_start=RAMP), [("wrr_locality", ["round_robin"])]),
        (
            TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_LEAST_REQUEST),
            [("wrr_locality", ["least_request", "round_robin"])],
        ),
        (TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_RING_HASH, slow_start=RAMP), ["ring_hash", "round_robin"]),
        (
            TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_ORCA_WEIGHTED),
            ["client_side_weighted_round_robin", "round_robin"],
        ),
        (
            TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_ORCA_WEIGHTED, locality_failover=LocalityFailover()),
            [("wrr_locality", ["client_side_weighted_round_robin", "round_robin"])],
        ),
    ],
)
def test_clients_of_grpc(policy: TrafficPolicy, expected: list[Any]) -> None:
    for kind in GRPC:
        assert listed(lb_policy(policy, Node("n", kind=kind))) == expected
    assert by_locality(policy) == isinstance(expected[0], tuple)


@pytest.mark.parametrize("kind", [C_CORE, GO, JAVA, NODE_JS])
@pytest.mark.parametrize("told", LbPolicy.values())
def test_each_kind_knows_one_of_each_list(kind: Any, told: LbPolicy.ValueType) -> None:
    def usable(names: list[Any]) -> bool:
        return any(name in KNOWN[kind] if isinstance(name, str) else usable(name[1]) for name in names)

    assert usable(listed(lb_policy(TrafficPolicy(lb_policy=told), Node("n", kind=kind))))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (LbPolicy.LB_POLICY_UNSPECIFIED, "round_robin"),
        (LbPolicy.LB_POLICY_WEIGHTED, "round_robin"),
        (LbPolicy.LB_POLICY_LEAST_REQUEST, "least_request"),
        (LbPolicy.LB_POLICY_RING_HASH, "ring_hash"),
        (LbPolicy.LB_POLICY_RANDOM, "random"),
        (LbPolicy.LB_POLICY_ORCA_WEIGHTED, "client_side_weighted_round_robin"),
    ],
)
def test_an_envoy_knows_all(told: LbPolicy.ValueType, expected: str) -> None:
    assert listed(lb_policy(TrafficPolicy(lb_policy=told), Node("n", kind=ENVOY))) == [expected]


@pytest.mark.parametrize("told", LbPolicy.values())
def test_slow_start_of_an_envoy(told: LbPolicy.ValueType) -> None:
    made = first(lb_policy(TrafficPolicy(lb_policy=told, slow_start=RAMP), Node("n", kind=ENVOY)))
    if told == LbPolicy.LB_POLICY_RING_HASH:  # a ramp would move keys
        assert "slow_start_config" not in made.DESCRIPTOR.fields_by_name
        return
    ramp = made.slow_start_config
    assert ramp.slow_start_window.seconds == 10
    assert ramp.min_weight_percent.value == pytest.approx(20)
    assert ramp.aggression.default_value == 2
    assert ramp.aggression.runtime_key


def test_the_defaults_of_slow_start() -> None:
    policy = TrafficPolicy(slow_start=SlowStart(window=Duration(seconds=10)))
    ramp = first(lb_policy(policy, Node("n", kind=ENVOY))).slow_start_config
    assert ramp.min_weight_percent.value == pytest.approx(10)
    assert ramp.aggression.default_value == 1


def test_ring_hash() -> None:
    policy = TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_RING_HASH)
    for kind in (*GRPC, ENVOY):
        ring = first(lb_policy(policy, Node("n", kind=kind)))
        assert ring.hash_function == ring.HashFunction.XX_HASH  # clients of gRPC know no other
        assert ring.minimum_ring_size.value <= ring.maximum_ring_size.value <= 8 << 20
