"""Slow start: the share of its weight that an endpoint has while it warms up.

Source: Envoy's slow start mode, https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/slow_start
"""

from __future__ import annotations

from collections.abc import Iterable

from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HEALTH_STATE_SERVING
from sira.registry.v1.traffic_policy_pb2 import LB_POLICY_RING_HASH, SlowStart, TrafficPolicy

DEFAULT_MIN_WEIGHT_SHARE = 0.1
DEFAULT_AGGRESSION = 1.0


def applies(policy: TrafficPolicy) -> bool:
    """Says whether endpoints ramp up. Never under ring hash, as in Envoy: a ramp would move keys all along it."""
    return policy.HasField("slow_start") and policy.lb_policy != LB_POLICY_RING_HASH


def window_ns(slow_start: SlowStart) -> int:
    """Length of the ramp in nanoseconds."""
    return slow_start.window.seconds * 1_000_000_000 + slow_start.window.nanos


def share(slow_start: SlowStart, serving_ns: int, now_ns: int) -> float:
    """The share of its weight, above 0 and up to 1, of an endpoint that has been SERVING since serving_ns.

    It is max(min_weight_share, (elapsed / window) ^ (1 / aggression)). A time in the future, as clocks that differ may
    show, counts as now.
    """
    window = window_ns(slow_start)
    elapsed = max(0, now_ns - serving_ns)
    if elapsed >= window:
        return 1.0
    ramp: float = (elapsed / window) ** (1 / (slow_start.aggression or DEFAULT_AGGRESSION))
    return max(slow_start.min_weight_share or DEFAULT_MIN_WEIGHT_SHARE, ramp)


def serving_since_ns(endpoint: Endpoint) -> int:
    """When the endpoint's slow start began, in Unix nanoseconds. 0 where that is not known: long ago."""
    if not endpoint.status.HasField("serving_time"):
        return 0
    since = endpoint.status.serving_time
    return since.seconds * 1_000_000_000 + since.nanos


def ramp_end_ns(endpoints: Iterable[Endpoint], policy: TrafficPolicy) -> int:
    """Until when, in Unix nanoseconds, weights change by the mere passing of time. 0 where they never do.

    What select answers before that time is good only for a fraction of the window.
    """
    if not applies(policy):
        return 0
    window = window_ns(policy.slow_start)
    serving = (serving_since_ns(e) for e in endpoints if e.status.state == HEALTH_STATE_SERVING)
    return max((since + window for since in serving if since), default=0)
