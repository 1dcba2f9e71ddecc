"""What is refused because of what it amounts to, and that what is not refused amounts to no more."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sira.registry.v1.access_policy_pb2 import AccessPolicy, AllowRule
from sira.registry.v1.fault_injection_pb2 import FaultAbort, FaultInjection
from sira.registry.v1.retry_policy_pb2 import RetryOn, RetryPolicy
from sira.registry.v1.route_pb2 import Destination, HeaderMatch, Mirror, Route, RouteMatch, Split
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.errors import InvalidField
from sira_grpc.xds import policy_limits, rbac, routes
from sira_grpc.xds.capabilities import KINDS
from sira_grpc.xds.names import Target, cluster
from sira_grpc.xds.node import Node
from sira_grpc.xds.policy_limits import MAX_BYTES, MAX_MATCHES, MAX_RULES, MAX_TARGETS, check
from sira_grpc.xds.subscription import NAME_LENGTH
from tests.unit.xds.policies import ECHO, SIDECAR, policed, service, world

INVERTED = [HeaderMatch(name=f"k{n}", exact="v", invert=True) for n in range(4)]


def routed(*told: Route) -> Service:
    return Service(name=ECHO, traffic_policy=TrafficPolicy(routes=told))


def to(*destinations: Destination) -> Route:
    return Route(splits=[Split(weight=1, destination=each) for each in destinations])


def versions(first: int, count: int) -> Route:
    return to(*(Destination(version=f"v{first + number}") for number in range(count)))


def matching(*matches: RouteMatch, splits: int = 0) -> Route:
    route = versions(0, splits)
    route.matches.extend(matches)
    return route


def refused(policed_service: Service) -> list[tuple[str, str]]:
    with pytest.raises(InvalidField) as raised:
        check(policed_service)
    return [(each.field.removeprefix("service."), each.rule) for each in raised.value.violations]


def test_what_policies_usually_are_is_fine() -> None:
    check(service())
    check(policed('mirror { destination { version: "v2" } percent: 1 } routes { fault {} } routes {}'))
    matches = [RouteMatch(path_prefix=f"/shop.Cart/{n}", headers=[HeaderMatch(name="k", exact="v")]) for n in range(32)]
    check(routed(*(matching(*matches, splits=2) for _ in range(64))))


@pytest.mark.parametrize("value", ["x" * 1024, "é" * 512, "|" * 512])
def test_the_name_of_a_subset_is_one_that_clients_may_ask_for(value: str) -> None:
    destination = Destination(metadata={"a": value, "b": value})
    ((field, rule),) = refused(routed(Route(), to(Destination(), destination)))
    assert field == "traffic_policy.routes[1].splits[1].destination.metadata"
    assert str(NAME_LENGTH) in rule
    mirrored = Service(name=ECHO)
    mirrored.traffic_policy.mirror.CopyFrom(Mirror(destination=destination, percent=1))
    assert refused(mirrored)[0][0] == "traffic_policy.mirror.destination.metadata"


def test_the_longest_name_of_a_subset() -> None:
    rest = len(cluster(Target(ECHO, "", (("a", ""), ("b", "")))))
    room = NAME_LENGTH - rest
    for more in (0, 1):
        value = {"a": "x" * 1000, "b": "x" * (room - 1000 + more)}
        assert len(cluster(Target.of(Destination(metadata=value), ECHO))) == NAME_LENGTH + more
        if more:
            refused(routed(to(Destination(metadata=value))))
        else:
            check(routed(to(Destination(metadata=value))))


def test_destinations_are_bounded() -> None:
    most = [versions(32 * n, 32) for n in range(MAX_TARGETS // 32)]
    check(routed(*most, *most))
    ((field, rule),) = refused(routed(*most, versions(10_000, 1)))
    assert field == "traffic_policy.routes"
    assert f"not {MAX_TARGETS + 1}" in rule


def test_matches_are_bounded_as_the_kinds_are_told_them_that_need_most() -> None:
    match = RouteMatch(headers=INVERTED)
    each = 16 * 5
    most = MAX_MATCHES // each
    told = [matching(*[match] * 32) for _ in range(most // 32)]
    check(routed(*told, matching(*[match] * (most % 32))))
    ((field, rule),) = refused(routed(*told, matching(*[match] * (most % 32)), matching(match)))
    assert field == "traffic_policy.routes"
    assert f"not {(most + 1) * each}" in rule


def test_what_is_sent_is_bounded_where_splits_count_for_each_match() -> None:
    route = matching(*[RouteMatch(headers=INVERTED[:2])] * 32, splits=32)
    check(routed(*[route] * 4))
    ((field, rule),) = refused(routed(*[route] * 16))
    assert field == "traffic_policy.routes"
    assert str(MAX_BYTES) in rule


def test_what_is_too_much_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_limits, "unmatched_route", None)
    refused(routed(*[matching(*[RouteMatch(headers=INVERTED)] * 32, splits=32)] * 64))


def test_access_rules_are_bounded() -> None:
    def allowing(count: int, size: int = 0) -> Service:
        names = [f"namespaces/shop/services/s{n}" for n in range(count)]
        rules = [
            AllowRule(sources=names[at : at + 16], methods=[f"/{'x' * size}/M{m}" for m in range(16)])
            for at in range(0, count, 16)
        ]
        return Service(name=ECHO, access_policy=AccessPolicy(allow=rules))

    most = allowing(MAX_RULES // 2)
    check(most)
    ((field, rule), *_) = refused(allowing(MAX_RULES))
    assert (field, f"not {2 * MAX_RULES}" in rule) == ("access_policy.allow", True)
    ((field, rule),) = refused(allowing(MAX_RULES // 2, size=480))
    assert (field, str(MAX_BYTES) in rule) == ("access_policy.allow", True)
    made = rbac.access(world(most, trust_domain="d" * 255), SIDECAR)
    assert made is not None
    assert made.ByteSize() <= MAX_BYTES


texts = st.text(alphabet="aé|", max_size=30)
headers = st.builds(HeaderMatch, name=st.sampled_from(["k", "key" * 40]), exact=texts, invert=st.booleans())
matches = st.builds(RouteMatch, path_prefix=st.sampled_from(["", "/", "/a.B/C"]), headers=st.lists(headers, max_size=5))
destinations = st.builds(Destination, version=texts, metadata=st.dictionaries(texts.filter(bool), texts, max_size=2))
retries = st.builds(RetryPolicy, retry_on=st.lists(st.sampled_from([RetryOn.RETRY_ON_UNAVAILABLE]), max_size=1))
faults = st.builds(FaultInjection, abort=st.builds(FaultAbort, code=st.integers(1, 16), percent=st.just(5)))
mirrors = st.builds(Mirror, destination=destinations, percent=st.just(50))
every_route = st.builds(
    Route,
    matches=st.lists(matches, max_size=4),
    splits=st.lists(st.builds(Split, weight=st.integers(0, 1000), destination=destinations), max_size=4),
    retry=st.one_of(st.none(), retries),
    fault=st.one_of(st.none(), faults),
    mirror=st.one_of(st.none(), mirrors),
)


@settings(max_examples=60)
@given(told=st.lists(every_route, min_size=1, max_size=4))
def test_no_kind_is_sent_more_than_was_counted(told: list[Route]) -> None:
    policed_service = routed(*told)
    counted = policy_limits.route_bytes(policed_service)
    sent = []
    for kind in KINDS:
        made = routes.build(world(policed_service), "echo.shop", Node(id="n", kind=kind))
        assert made is not None
        assert not isinstance(made, bytes)
        sent.append(sum(route.ByteSize() for route in made.virtual_hosts[0].routes[:-1]))
    assert max(sent) <= counted <= 4 * max(sent)
