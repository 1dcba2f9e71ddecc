"""The options that describe a traffic policy."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from sira.registry.v1.traffic_policy_pb2 import (
    LbPolicy,
    LocalityFailover,
    SlowStart,
    TlsMode,
    TrafficPolicy,
)

from sira_grpc.cli.failures import Failure
from sira_grpc.cli.policy import options, summary
from sira_grpc.cli.policy.options import LbPolicyName, TlsName

FULL = TrafficPolicy(
    lb_policy=LbPolicy.LB_POLICY_RING_HASH,
    locality_failover=LocalityFailover(threshold=0.5),
    slow_start=SlowStart(window=Duration(seconds=30)),
    subset_size=3,
    timeout=Duration(seconds=2),
    tls=TlsMode.TLS_MODE_MUTUAL,
)
FIELDS = ("lb_policy", "locality_failover", "slow_start", "subset_size", "timeout", "tls")


def test_what_is_given_is_written_and_masked() -> None:
    filled = TrafficPolicy()
    paths = options.fill(
        filled,
        lb_policy=LbPolicyName.RING_HASH,
        failover="0.5",
        slow_start="30s",
        subset_size=3,
        call_timeout="2s",
        tls=TlsName.MUTUAL,
    )
    assert filled == FULL
    assert paths == [f"traffic_policy.{name}" for name in FIELDS]


def test_what_is_not_given_is_left_alone() -> None:
    filled = TrafficPolicy()
    assert options.fill(filled) == []
    assert filled == TrafficPolicy()


def test_off_is_masked_and_absent() -> None:
    filled = TrafficPolicy()
    paths = options.fill(filled, failover="off", slow_start="off", call_timeout="off", tls=TlsName.OFF)
    assert filled == TrafficPolicy()
    assert paths == [f"traffic_policy.{name}" for name in ("locality_failover", "slow_start", "timeout", "tls")]


def test_a_share_must_be_a_number() -> None:
    with pytest.raises(Failure, match="--locality-failover: 'x' must be a share"):
        options.fill(TrafficPolicy(), failover="x")


@pytest.mark.parametrize("name", LbPolicyName)
def test_every_policy_of_the_api_has_a_name(name: LbPolicyName) -> None:
    filled = TrafficPolicy()
    options.fill(filled, lb_policy=name)
    assert summary.describe(filled) == name
    assert len(LbPolicyName) == len(LbPolicy.keys()) - 1
