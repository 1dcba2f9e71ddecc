"""What a policy comes to in a line."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from sira.registry.v1.access_policy_pb2 import AccessPolicy, AllowRule
from sira.registry.v1.circuit_breakers_pb2 import CircuitBreakers
from sira.registry.v1.retry_policy_pb2 import RetryPolicy
from sira.registry.v1.route_pb2 import Destination, Mirror, Route, RouteMatch, Split
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, LocalityFailover, SlowStart, TlsMode, TrafficPolicy

from sira_grpc.cli.policy import summary

CANARY = Destination(service="namespaces/shop/services/canary", version="v2", metadata={"b": "1", "a": "2"})


def test_nothing_is_round_robin() -> None:
    assert summary.describe(TrafficPolicy()) == "round-robin"


def test_how_calls_are_spread() -> None:
    policy = TrafficPolicy(
        lb_policy=LbPolicy.LB_POLICY_RING_HASH,
        locality_failover=LocalityFailover(threshold=0.5),
        slow_start=SlowStart(window=Duration(seconds=30)),
        subset_size=3,
    )
    assert summary.describe(policy) == "ring-hash, failover under 0.5, slow start 30s, subsets of 3"


def test_what_becomes_of_calls() -> None:
    policy = TrafficPolicy(
        timeout=Duration(seconds=1, nanos=500_000_000),
        retry=RetryPolicy(),
        circuit_breakers=CircuitBreakers(),
        mirror=Mirror(),
        tls=TlsMode.TLS_MODE_MUTUAL,
    )
    assert summary.describe(policy) == "round-robin, at most 1s500ms, retries, circuit breakers, a mirror, mutual TLS"


def test_where_calls_go() -> None:
    matched = Route(matches=[RouteMatch(path_prefix="/x")])
    whole = Route(
        splits=[
            Split(weight=90, destination=Destination(version="v1")),
            Split(weight=10, destination=CANARY),
            Split(destination=Destination(version="v3")),
        ]
    )
    told = "2 routes, split v1 90%, shop/canary|v2|a=2|b=1 10%"
    assert summary.describe(TrafficPolicy(routes=[matched, matched, whole])) == f"round-robin, {told}"
    assert summary.describe(TrafficPolicy(routes=[matched])) == "round-robin, 1 route"
    assert summary.shares(Route(splits=[Split(weight=1), Split(weight=2, destination=Destination())])) == (
        "any 33.3%, any 66.7%"
    )


def test_who_may_call() -> None:
    policy = AccessPolicy(
        allow=[
            AllowRule(sources=["namespaces/shop/services/cart", "namespaces/shop/services/-"]),
            AllowRule(sources=["namespaces/-/services/-"], methods=["/a.B/C", "/a.B/D"]),
        ]
    )
    assert summary.describe_access(policy) == "shop/cart, shop/*: everything; */*: /a.B/C, /a.B/D"
    assert summary.describe_access(AccessPolicy()) == "nobody"
