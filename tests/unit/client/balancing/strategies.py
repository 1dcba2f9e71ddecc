"""Hypothesis strategies for endpoints, policies and candidates."""

from __future__ import annotations

from hypothesis import strategies as st
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import GrpcCheck, HealthCheck, HealthState, TcpCheck, TtlCheck
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, LocalityFailover, SlowStart, TrafficPolicy
from sira_client.balancing import Candidate

SERVICE = "namespaces/default/services/greeter"
NOW_NS = 1_700_000_000 * 10**9

policies = st.sampled_from([LbPolicy.Name(number) for number in LbPolicy.values()]).map(LbPolicy.Value)


def name(number: int) -> str:
    return f"{SERVICE}/endpoints/e{number}"


def serving(number: int, *, region: str = "", zone: str = "", weight: int = 0) -> Endpoint:
    """A healthy endpoint at an address of its own."""
    endpoint = Endpoint(name=name(number), addresses=[f"10.0.0.{number}"], port=8080, weight=weight)
    endpoint.locality.region, endpoint.locality.zone = region, zone
    endpoint.status.state = HealthState.HEALTH_STATE_SERVING
    return endpoint


@st.composite
def localities(draw: st.DrawFn) -> Locality:
    return Locality(region=draw(st.sampled_from(["", "eu", "us"])), zone=draw(st.sampled_from(["", "a", "b"])))


@st.composite
def endpoints(draw: st.DrawFn, max_size: int = 24) -> list[Endpoint]:
    """Endpoints of any health, some of them at one address."""
    result = []
    for number in range(draw(st.integers(0, max_size))):
        endpoint = Endpoint(name=name(number), addresses=[f"10.0.0.{draw(st.integers(0, 30))}"], port=8080)
        endpoint.weight = draw(st.sampled_from([0, 1, 2, 100, 10_000]))
        endpoint.locality.CopyFrom(draw(localities()))
        endpoint.create_time.seconds = draw(st.integers(0, 3))
        endpoint.status.state = draw(st.sampled_from(HealthState.values()))
        endpoint.status.suspect = draw(st.booleans())
        if draw(st.booleans()):
            endpoint.status.serving_time.FromNanoseconds(NOW_NS - draw(st.integers(-(10**9), 100 * 10**9)))
        kind = draw(st.sampled_from(["", "grpc", "tcp", "ttl"]))
        checks = {"grpc": HealthCheck(grpc=GrpcCheck()), "tcp": HealthCheck(tcp=TcpCheck())}
        if kind:
            endpoint.health_check.CopyFrom(checks.get(kind, HealthCheck(ttl=TtlCheck())))
        result.append(endpoint)
    return result


@st.composite
def traffic_policies(draw: st.DrawFn) -> TrafficPolicy:
    policy = TrafficPolicy(lb_policy=draw(policies), subset_size=draw(st.sampled_from([0, 1, 3, 100])))
    if draw(st.booleans()):
        policy.locality_failover.CopyFrom(LocalityFailover(threshold=draw(st.sampled_from([0, 0.3, 1]))))
    if draw(st.booleans()):
        policy.slow_start.CopyFrom(SlowStart(aggression=draw(st.sampled_from([0, 0.5, 2]))))
        policy.slow_start.window.seconds = 60
    return policy


@st.composite
def candidates(draw: st.DrawFn, min_size: int = 1, max_size: int = 8) -> list[Candidate]:
    """Candidates by tier, the nearest first, at least one of them with a weight."""
    weights = draw(st.lists(st.sampled_from([0, 1000, 5000, 100_000]), min_size=min_size, max_size=max_size))
    weights[0] = weights[0] or 1000
    tiers = sorted(draw(st.lists(st.integers(0, 2), min_size=len(weights), max_size=len(weights))))
    return [
        Candidate(serving(number), weight, tier)
        for number, (weight, tier) in enumerate(zip(weights, tiers, strict=True))
    ]
