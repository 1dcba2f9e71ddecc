from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira.registry.v1.fault_injection_pb2 import FaultAbort, FaultInjection
from sira.registry.v1.retry_policy_pb2 import RETRY_ON_INTERNAL, RETRY_ON_UNAVAILABLE, RetryPolicy
from sira.registry.v1.route_pb2 import Destination, HeaderMatch, Route, RouteMatch, Split
from sira.registry.v1.session_affinity_pb2 import SessionAffinity
from sira.registry.v1.traffic_policy_pb2 import LB_POLICY_RANDOM, LocalityFailover, TrafficPolicy
from sira_client.balancing.route_table import RouteTable, Splits, is_plain
from sira_client.balancing.target import Target

CART = "namespaces/shop/services/cart"
WHOLE, V1, V2 = Target(CART), Target(CART, "v1"), Target(CART, "v2")


def split(version: str, weight: int) -> Split:
    return Split(weight=weight, destination=Destination(version=version))


def route(prefix: str, version: str) -> Route:
    return Route(matches=[RouteMatch(path_prefix=prefix)], splits=[split(version, 1)])


def test_the_first_route_that_matches_counts() -> None:
    table = RouteTable(TrafficPolicy(routes=[route("/shop.Cart/Add", "v2"), route("/shop.", "v1")]), CART)
    assert table.find("/shop.Cart/Add", ()).splits.targets == (V2,)
    assert table.find("/shop.Cart/Drop", ()).splits.targets == (V1,)
    assert table.find("/else/Drop", ()).splits.targets == (WHOLE,)
    assert table.targets == {WHOLE, V1, V2}


def test_what_comes_after_a_route_of_all_calls_is_not_there() -> None:
    table = RouteTable(TrafficPolicy(routes=[Route(splits=[split("v1", 1)]), route("/", "v2")]), CART)
    assert table.targets == {V1}


def test_one_match_of_a_route_is_enough() -> None:
    matches = [RouteMatch(path_exact="/a/A"), RouteMatch(headers=[HeaderMatch(name="tier", exact="beta")])]
    table = RouteTable(TrafficPolicy(routes=[Route(matches=matches, splits=[split("v2", 1)])]), CART)
    assert table.find("/a/A", ()).splits.targets == (V2,)
    assert table.find("/b/B", (("tier", "beta"),)).splits.targets == (V2,)
    assert table.find("/b/B", (("tier", "gold"),)).splits.targets == (WHOLE,)


def test_a_route_takes_from_the_policy_what_it_does_not_say() -> None:
    policy = TrafficPolicy(
        retry=RetryPolicy(retry_on=[RETRY_ON_UNAVAILABLE]),
        fault=FaultInjection(abort=FaultAbort(code=1, percent=1)),
        routes=[
            Route(matches=[RouteMatch(path_prefix="/a/")]),
            Route(matches=[RouteMatch(path_prefix="/b/")], retry=RetryPolicy(retry_on=[RETRY_ON_INTERNAL])),
        ],
    )
    policy.timeout.seconds = 3
    policy.routes[1].timeout.FromMilliseconds(500)
    policy.routes[1].fault.abort.code = 2
    table = RouteTable(policy, CART)
    inherits, says, default = (table.find(f"/{letter}/M", ()) for letter in "abc")
    for rule in (inherits, default):
        assert (rule.timeout, rule.retry, rule.fault) == (3.0, policy.retry, policy.fault)
    assert (says.timeout, says.retry, says.fault) == (0.5, policy.routes[1].retry, policy.routes[1].fault)
    bare = RouteTable(TrafficPolicy(), CART).find("/a/M", ())
    assert (bare.timeout, bare.retry, bare.fault, bare.matchers) == (None, None, None, ())


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=6).filter(any), st.integers())
def test_calls_are_split_by_weight(weights: list[int], seed: int) -> None:
    targets = [Target(CART, f"v{number}") for number in range(len(weights))]
    splits, random = Splits(list(zip(targets, weights, strict=True))), Random(seed)
    drawn = Counter(splits.draw(random) for _ in range(600))
    for target, weight in zip(targets, weights, strict=True):
        share = weight / sum(weights)
        assert abs(drawn[target] - 600 * share) <= 7 * (600 * share * (1 - share)) ** 0.5
        assert (target in splits.targets) is (weight > 0)


def test_others_share_the_calls_of_what_is_left_out() -> None:
    one, two, three = (Target(CART, f"v{number}") for number in range(3))
    splits = Splits([(one, 1), (two, 2), (three, 0)])
    left = splits.but([two])
    assert left is not None
    assert (left.targets, left.draw(Random(0))) == ((one,), one)
    assert splits.but([one, two]) is None


@pytest.mark.parametrize(
    "policy",
    [
        TrafficPolicy(routes=[Route()]),
        TrafficPolicy(retry=RetryPolicy()),
        TrafficPolicy(fault=FaultInjection()),
        TrafficPolicy(session_affinity=SessionAffinity(cookie="c")),
    ],
)
def test_a_policy_of_single_calls_is_not_plain(policy: TrafficPolicy) -> None:
    assert not is_plain(policy)


def test_a_policy_of_endpoints_is_plain() -> None:
    assert is_plain(TrafficPolicy(lb_policy=LB_POLICY_RANDOM, locality_failover=LocalityFailover(), subset_size=3))
