"""What clients make of the matches they are told, by the rules of their own, against what the policy says."""

from __future__ import annotations

import pytest
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.config.route.v3.route_components_pb2 import RouteMatch as XdsRouteMatch
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from sira.registry.v1.route_pb2 import HeaderMatch, Route, RouteMatch
from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.xds.node import C_CORE, ENVOY, GO, JAVA, NODE_JS, UNKNOWN, Node
from sira_grpc.xds.route_matches import MAX_ABSENT, every_call, route_matches

KINDS = (C_CORE, GO, JAVA, NODE_JS, ENVOY, UNKNOWN)
KEYS = ("a", "b")
VALUES = ("", "x", "xy", "yx")
METHOD = "/shop.Cart/Add"

values = st.sampled_from(VALUES)
some_values = st.sampled_from(VALUES[1:])
keys = st.sampled_from(KEYS)
header_matches = st.one_of(
    st.builds(HeaderMatch, name=keys, exact=values, invert=st.booleans()),
    st.builds(HeaderMatch, name=keys, prefix=some_values, invert=st.booleans()),
    st.builds(HeaderMatch, name=keys, suffix=some_values, invert=st.booleans()),
    st.builds(HeaderMatch, name=keys, present=st.booleans(), invert=st.booleans()),
)
metadata = st.dictionaries(keys, values)


def node(kind: ClientKind.ValueType) -> Node:
    return Node(id="n", kind=kind)


def route(text: str) -> Route:
    return text_format.Parse(text, Route())


def meant(match: HeaderMatch, call: dict[str, str]) -> bool:
    """What HeaderMatch says."""
    value = call.get(match.name)
    held = {
        "exact": value is not None and value == match.exact,
        "prefix": value is not None and value.startswith(match.prefix),
        "suffix": value is not None and value.endswith(match.suffix),
        "present": (value is not None) == match.present,
    }[str(match.WhichOneof("value"))]
    return bool(held != match.invert)


def taken(told: HeaderMatcher, call: dict[str, str], kind: ClientKind.ValueType) -> bool:
    """What a kind of client does with a matcher: gRFC A28, and where they differ, their own sources."""
    value = call.get(told.name)
    if told.WhichOneof("header_match_specifier") == "present_match":
        assert told.present_match, "gRPC for Node takes false for true"
        return bool((value is not None) != told.invert_match)
    if value is None and told.treat_missing_header_as_empty:
        assert kind == ENVOY
        value = ""
    if value is None:
        return kind == NODE_JS and told.invert_match
    string = told.string_match
    held = {
        "exact": value == string.exact,
        "prefix": value.startswith(string.prefix),
        "suffix": value.endswith(string.suffix),
    }[str(string.WhichOneof("match_pattern"))]
    return bool(held != told.invert_match)


@pytest.mark.parametrize("kind", KINDS)
@given(headers=st.lists(header_matches, max_size=MAX_ABSENT), call=metadata)
def test_every_kind_takes_a_match_for_what_it_means(
    kind: ClientKind.ValueType, headers: list[HeaderMatch], call: dict[str, str]
) -> None:
    told = route_matches(Route(matches=[RouteMatch(headers=headers)]), node(kind))

    matched = any(all(taken(header, call, kind) for header in each.headers) for each in told)
    assert matched == all(meant(header, call) for header in headers)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_told_is_bounded(kind: ClientKind.ValueType) -> None:
    headers = [HeaderMatch(name=f"k{n}", exact="x", invert=True) for n in range(16)]
    told = route_matches(Route(matches=[RouteMatch(headers=headers)]), node(kind))
    assert len(told) <= 2**MAX_ABSENT
    assert {len(each.headers) for each in told} == {16}


def test_paths() -> None:
    told = route_matches(
        route('matches { path_exact: "/shop.Cart/Add" } matches { path_prefix: "/shop." } matches {}'), node(GO)
    )
    assert told == [XdsRouteMatch(path=METHOD), XdsRouteMatch(prefix="/shop."), XdsRouteMatch(prefix="/")]


def test_no_matches_are_every_call() -> None:
    assert route_matches(Route(), node(GO)) == [every_call()] == [XdsRouteMatch(prefix="/")]


def test_path_and_headers_must_both_match() -> None:
    (told,) = route_matches(route('matches { path_prefix: "/a.B/" headers { name: "k" exact: "v" } }'), node(C_CORE))
    assert told.prefix == "/a.B/"
    assert [(each.name, each.string_match.exact) for each in told.headers] == [("k", "v")]
