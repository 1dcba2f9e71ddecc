"""The options that describe a traffic policy."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, LocalityFailover, SlowStart, TrafficPolicy

from sira_grpc.cli import policy
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.policy import LbPolicyName

FULL = TrafficPolicy(
    lb_policy=LbPolicy.LB_POLICY_RING_HASH,
    locality_failover=LocalityFailover(threshold=0.5),
    slow_start=SlowStart(window=Duration(seconds=30)),
    subset_size=3,
)


def test_what_is_given_is_written_and_masked() -> None:
    filled = TrafficPolicy()
    paths = policy.fill(filled, LbPolicyName.RING_HASH, "0.5", "30s", 3)
    assert filled == FULL
    assert paths == [
        f"traffic_policy.{name}" for name in ("lb_policy", "locality_failover", "slow_start", "subset_size")
    ]


def test_what_is_not_given_is_left_alone() -> None:
    filled = TrafficPolicy()
    assert policy.fill(filled, None, None, None, None) == []
    assert filled == TrafficPolicy()


def test_off_is_masked_and_absent() -> None:
    filled = TrafficPolicy()
    paths = policy.fill(filled, None, "off", "off", None)
    assert (filled, paths) == (TrafficPolicy(), ["traffic_policy.locality_failover", "traffic_policy.slow_start"])


def test_a_share_must_be_a_number() -> None:
    with pytest.raises(Failure, match="--locality-failover: 'x' must be a share"):
        policy.fill(TrafficPolicy(), None, "x", None, None)


@pytest.mark.parametrize("name", LbPolicyName)
def test_every_policy_of_the_api_has_a_name(name: LbPolicyName) -> None:
    filled = TrafficPolicy()
    policy.fill(filled, name, None, None, None)
    assert policy.describe(filled) == name
    assert len(LbPolicyName) == len(LbPolicy.keys()) - 1


def test_a_policy_in_one_line() -> None:
    assert policy.describe(FULL) == "ring-hash, failover under 0.5, slow start 30s, subsets of 3"
    assert policy.describe(TrafficPolicy()) == "round-robin"
