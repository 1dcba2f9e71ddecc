from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, SlowStart, TrafficPolicy

from sira_grpc.times import NANOS, timestamp
from sira_grpc.xds.localities import MAX_TOTAL_WEIGHT, MAX_WEIGHTS, Place, grouped
from sira_grpc.xds.node import ENVOY, GO, Node
from sira_grpc.xds.rows import HEALTHY, UNHEALTHY, Row
from sira_grpc.xds.selection import Batch
from tests.unit.xds.mesh import endpoint

GRPC = Node("n", kind=GO)
WEIGHTED = TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_WEIGHTED)
RING = TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_RING_HASH)
RAMP = SlowStart(window=Duration(seconds=100))
NOW = 1_000_003 * NANOS


def row(number: int, zone: str = "a", *, weight: int = 0, since: int = 0) -> Row:
    made = endpoint(number, region="r", zone=zone, weight=weight)
    if since:
        made.status.serving_time.CopyFrom(timestamp(since))
    return Row(made)


def batch(*rows: Row, weights: list[int] | None = None, priority: int = 0, health: int = HEALTHY) -> Batch:
    return Batch(priority, health, list(rows), weights or [each.weight for each in rows])


def sizes(batches: list[Batch], policy: TrafficPolicy, node: Node = GRPC) -> dict[Place, tuple[int, int]]:
    found = grouped(batches, policy, node, NOW)
    assert list(found) == sorted(found)
    return {place: (len(group.elements), group.weight) for place, group in found.items()}


def test_by_place_and_priority() -> None:
    batches = [batch(row(1), row(2, "b"), row(3)), batch(row(4), priority=1)]
    assert sizes(batches, TrafficPolicy()) == {
        (0, "r", "a", ""): (2, 200),
        (0, "r", "b", ""): (1, 100),
        (1, "r", "a", ""): (1, 100),
    }


def test_by_weight_where_it_counts() -> None:
    batches = [batch(row(1), row(2, weight=7), row(3, weight=7))]
    assert sizes(batches, WEIGHTED) == {(0, "r", "a", "w100"): (1, 100), (0, "r", "a", "w7"): (2, 14)}
    assert sizes(batches, WEIGHTED, Node("n", kind=ENVOY)) == {(0, "r", "a", ""): (3, 114)}
    assert sizes(batches, RING) == {(0, "", "", ""): (3, 1)}


def test_by_the_step_in_which_they_began() -> None:
    began = 1_000_000 * NANOS
    batches = [batch(row(1), row(2, since=began), row(3, since=began + 9 * NANOS), row(4, since=began - 10 * NANOS))]
    assert sizes(batches, TrafficPolicy(slow_start=RAMP)) == {
        (0, "r", "a", ""): (1, 100),
        (0, "r", "a", "s100000"): (2, 200),
        (0, "r", "a", "s99999"): (1, 100),
    }
    ring = TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_RING_HASH, slow_start=RAMP)
    assert sizes(batches, ring) == {(0, "", "", ""): (4, 1)}


def test_no_locality_is_without_weight() -> None:
    assert sizes([batch(row(1), weights=[0], health=UNHEALTHY)], TrafficPolicy()) == {(0, "r", "a", ""): (1, 1)}
    assert sizes([batch()], TrafficPolicy()) == {}
    assert sizes([batch()], RING) == {}


def test_weights_of_a_priority_are_bounded() -> None:
    rows = [row(n, zone) for n, zone in enumerate("abc")]
    batches = [batch(*rows, weights=[MAX_TOTAL_WEIGHT, MAX_TOTAL_WEIGHT, 1]), batch(row(9), priority=1)]
    weights = [weight for _, weight in sizes(batches, TrafficPolicy()).values()]
    assert sum(weights[:3]) <= MAX_TOTAL_WEIGHT
    assert weights[0] == weights[1] > MAX_TOTAL_WEIGHT // 3
    assert weights[2:] == [1, 100]


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=300))
def test_however_many_weights_each_endpoint_gets_about_its_own(weights: list[int]) -> None:
    found = sizes([batch(*(row(n, weight=weight) for n, weight in enumerate(weights)))], WEIGHTED)
    assert len(found) <= 2 * MAX_WEIGHTS
    assert sum(weight for _, weight in found.values()) == sum(weights)
    for (_, _, _, part), (count, weight) in found.items():
        assert weight / count == pytest.approx(int(part[1:]), rel=0.16, abs=1)
