from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, SlowStart, TrafficPolicy

from sira_grpc.times import NANOS
from sira_grpc.xds.ramps import MIN_STEP_NS, Ramps, ramps, step_ns
from tests.unit.xds.mesh import API, WEB, Mesh, endpoint

POLICY = TrafficPolicy(slow_start=SlowStart(window=Duration(seconds=100)))


def test_which_policies_ramp() -> None:
    assert ramps(POLICY)
    assert not ramps(TrafficPolicy())
    assert not ramps(TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_RING_HASH, slow_start=POLICY.slow_start))


def test_steps() -> None:
    assert step_ns(POLICY.slow_start) == 10 * NANOS
    assert step_ns(SlowStart(window=Duration(nanos=1))) == MIN_STEP_NS


def test_due_at_multiples_of_the_step_until_the_ramp_has_ended() -> None:
    mesh = Mesh()
    mesh.service(slow_start=POLICY.slow_start)
    times = Ramps()
    now = 1003 * NANOS
    assert times.due is None
    assert times.changed(WEB, POLICY, now)
    assert not times.changed(WEB, POLICY, now)
    assert times.due == 1010 * NANOS
    assert times.take(now, mesh.view) == frozenset()
    assert times.take(1010 * NANOS, mesh.view) == {WEB}
    assert times.due == 1020 * NANOS
    assert times.take(1119 * NANOS, mesh.view) == {WEB}  # late
    assert times.due is None


def test_the_first_of_several_is_due() -> None:
    times = Ramps()
    assert times.changed(WEB, POLICY, NANOS)
    assert times.changed(API, TrafficPolicy(slow_start=SlowStart(window=Duration(seconds=10))), NANOS)
    assert times.due == 2 * NANOS
    assert not times.changed(API, None, NANOS)
    assert times.due == 10 * NANOS
    assert not times.changed(WEB, TrafficPolicy(), NANOS)
    assert times.due is None


def test_an_endpoint_whose_clock_is_ahead_ramps_to_its_end() -> None:
    mesh = Mesh()
    mesh.service(slow_start=POLICY.slow_start)
    times = Ramps()
    now = mesh.clock.time_ns()
    mesh.clock.advance(500)
    mesh.endpoint(endpoint(1))
    times.changed(WEB, POLICY, now)
    seen = []
    while times.due is not None:
        seen.append(times.due)
        times.take(times.due, mesh.view)
    assert seen[-1] >= now + 600 * NANOS


def test_a_service_that_is_gone_ramps_no_longer() -> None:
    mesh = Mesh()
    times = Ramps()
    times.changed(WEB, POLICY, 0)
    assert times.take(200 * NANOS, mesh.view) == {WEB}
    assert times.due is None
