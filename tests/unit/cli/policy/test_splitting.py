"""Splits between versions: what is read, and what becomes of a policy."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from sira.registry.v1.route_pb2 import Destination, Route, RouteMatch, Split
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.cli.failures import Failure
from sira_grpc.cli.policy.splitting import parse, split, unsplit

MATCHED = Route(matches=[RouteMatch(path_prefix="/x")], splits=[Split(weight=1)])


def shares(policy: TrafficPolicy) -> list[list[tuple[str, int]]]:
    """The splits of each route."""
    return [[(each.destination.version, each.weight) for each in route.splits] for route in policy.routes]


def test_versions_and_weights_are_read() -> None:
    assert parse(["v1=90", "v2=0", "a=b=1"]) == {"v1": 90, "v2": 0, "a=b": 1}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["v1"], "'v1' must be like v1=90"),
        (["=1"], "'=1' must be like"),
        (["v1="], "must be like"),
        (["v1=-1"], "must be like"),
        (["v1=0.5"], "must be like"),
        (["v1=²"], "must be like"),
        (["v1=1000001"], "must be like v1=90, up to 1,000,000"),
        (["v1=1", "v1=2"], "v1 is there twice"),
        (["v1=0"], "must be above zero"),
        ([], "must be above zero"),
    ],
)
def test_what_makes_no_sense_is_refused(given: list[str], complaint: str) -> None:
    with pytest.raises(Failure, match=f"VERSION=WEIGHT: .*{complaint}" if complaint[0] != "'" else complaint):
        parse(given)


def test_the_calls_that_no_route_matches_are_split() -> None:
    policy = TrafficPolicy(routes=[MATCHED])
    assert split(policy, {"v1": 90, "v2": 10})
    assert shares(policy) == [[("", 1)], [("v1", 90), ("v2", 10)]]
    assert not split(policy, {"v1": 90, "v2": 10})
    assert split(policy, {"v2": 100})
    assert shares(policy) == [[("", 1)], [("v2", 100)]]
    assert unsplit(policy)
    assert list(policy.routes) == [MATCHED]
    assert not unsplit(policy)


def test_what_a_route_has_besides_stays() -> None:
    timeout = Duration(seconds=1)
    policy = TrafficPolicy(routes=[Route(timeout=timeout), Route(splits=[Split(weight=1)])])
    split(policy, {"v1": 1})
    assert shares(policy) == [[("v1", 1)], [("", 1)]]
    assert policy.routes[0].timeout == timeout
    assert unsplit(policy)
    assert policy.routes[0] == Route(timeout=timeout)


def test_a_service_elsewhere_is_replaced() -> None:
    elsewhere = Destination(service="namespaces/shop/services/canary")
    policy = TrafficPolicy(routes=[Route(splits=[Split(weight=1, destination=elsewhere)])])
    split(policy, {"v1": 1})
    assert policy.routes[0].splits[0].destination == Destination(version="v1")
