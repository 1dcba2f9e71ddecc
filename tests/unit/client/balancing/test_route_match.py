from __future__ import annotations

import pytest
from sira.registry.v1.route_pb2 import HeaderMatch, RouteMatch
from sira_client.balancing.route_match import headers_of, matcher

ADD = "/shop.Cart/Add"


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (RouteMatch(), True),
        (RouteMatch(path_prefix="/"), True),
        (RouteMatch(path_prefix="/shop.Cart/"), True),
        (RouteMatch(path_prefix="/shop.Cart/Add/"), False),
        (RouteMatch(path_exact=ADD), True),
        (RouteMatch(path_exact="/shop.Cart/A"), False),
        (RouteMatch(path_exact="/shop.cart/add"), False),
    ],
)
def test_paths(match: RouteMatch, expected: bool) -> None:
    assert matcher(match)(ADD, {}) is expected


@pytest.mark.parametrize(
    ("header", "there", "other", "missing"),
    [
        (HeaderMatch(exact="beta"), True, False, False),
        (HeaderMatch(prefix="be"), True, False, False),
        (HeaderMatch(suffix="ta"), True, False, False),
        (HeaderMatch(present=True), True, True, False),
        (HeaderMatch(present=False), False, False, True),
        (HeaderMatch(exact=""), False, False, False),
    ],
)
@pytest.mark.parametrize("invert", [False, True])
def test_headers(header: HeaderMatch, there: bool, other: bool, missing: bool, invert: bool) -> None:
    header.name, header.invert = "tier", invert
    matches = matcher(RouteMatch(headers=[header]))
    assert matches(ADD, {"tier": "beta"}) is (there is not invert)
    assert matches(ADD, {"tier": "gold"}) is (other is not invert)
    assert matches(ADD, {"else": "beta"}) is (missing is not invert)


def test_all_of_a_match_must_hold() -> None:
    headers = [HeaderMatch(name="tier", exact="beta"), HeaderMatch(name="user", present=True)]
    matches = matcher(RouteMatch(path_prefix="/shop.", headers=headers))
    assert matches(ADD, {"tier": "beta", "user": "1"})
    assert not matches(ADD, {"tier": "beta"})
    assert not matches("/other/Add", {"tier": "beta", "user": "1"})


def test_metadata_as_matches_see_it() -> None:
    metadata: list[tuple[str, str | bytes]] = [
        ("tier", "beta"),
        ("tier", b"gold"),
        ("trace-bin", b"\xff"),
        ("grpc-x", "1"),
        ("raw", b"\xff"),
    ]
    assert headers_of(metadata) == {"tier": "beta,gold", "raw": "�"}
