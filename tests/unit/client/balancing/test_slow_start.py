from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HEALTH_STATE_NOT_SERVING
from sira.registry.v1.traffic_policy_pb2 import LB_POLICY_RING_HASH, SlowStart, TrafficPolicy
from sira_client.balancing import ramp_end_ns, slow_start

from tests.unit.client.balancing.strategies import NOW_NS, serving

SECOND = 10**9


def ramp(*, min_weight_share: float = 0, aggression: float = 0) -> SlowStart:
    result = SlowStart(min_weight_share=min_weight_share, aggression=aggression)
    result.window.seconds = 10
    return result


@pytest.mark.parametrize(
    ("elapsed", "settings", "expected"),
    [
        (0, ramp(), 0.1),
        (5, ramp(), 0.5),
        (10, ramp(), 1.0),
        (1000, ramp(), 1.0),
        (-5, ramp(), 0.1),
        (1, ramp(min_weight_share=0.3), 0.3),
        (2.5, ramp(aggression=2), 0.5),
        (5, ramp(aggression=0.5), 0.25),
    ],
)
def test_share_follows_the_formula(elapsed: float, settings: SlowStart, expected: float) -> None:
    assert slow_start.share(settings, NOW_NS - int(elapsed * SECOND), NOW_NS) == pytest.approx(expected)


@given(st.integers(0, 11 * SECOND), st.integers(0, SECOND), st.sampled_from([0, 0.2, 1, 3]))
def test_share_never_falls_and_stays_within_bounds(elapsed: int, more: int, aggression: float) -> None:
    settings = ramp(aggression=aggression)
    now, later = (slow_start.share(settings, NOW_NS, NOW_NS + elapsed + extra) for extra in (0, more))
    assert 0.1 <= now <= later <= 1


def since(seconds: float) -> Endpoint:
    endpoint = serving(1)
    endpoint.status.serving_time.FromNanoseconds(NOW_NS - int(seconds * SECOND))
    return endpoint


def test_the_ramp_ends_when_the_last_endpoint_is_warm() -> None:
    policy = TrafficPolicy(slow_start=ramp())
    sick = since(1)
    sick.status.state = HEALTH_STATE_NOT_SERVING
    assert ramp_end_ns([since(8), since(3), serving(2), sick], policy) == NOW_NS + 7 * SECOND


@pytest.mark.parametrize("policy", [TrafficPolicy(), TrafficPolicy(slow_start=ramp(), lb_policy=LB_POLICY_RING_HASH)])
def test_without_a_ramp_weights_never_change(policy: TrafficPolicy) -> None:
    assert ramp_end_ns([since(3)], policy) == 0
