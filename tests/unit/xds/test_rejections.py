from __future__ import annotations

import pytest

from sira_grpc.xds.rejections import KEPT_VERSIONS, REASON_LENGTH, Rejections, blamed
from sira_grpc.xds.resource import Resource
from sira_grpc.xds.type_urls import CLUSTER


def resource(name: str, body: bytes = b"1") -> Resource:
    return Resource(CLUSTER, name, body, 1)


def test_a_version_is_rejected_and_others_are_not() -> None:
    rejections = Rejections()
    assert None not in rejections
    assert resource("a") not in rejections
    rejections.add(resource("a"), "why")
    assert resource("a") in rejections
    assert rejections.reason(resource("a")) == "why"
    assert resource("a", b"2") not in rejections
    assert resource("b") not in rejections
    assert (rejections.reason(resource("a", b"2")), rejections.reason(resource("b"))) == ("", "")
    rejections.add(resource("a", b"2"), "too")
    assert resource("a") in rejections
    assert rejections.names == ["a"]


def test_what_is_forgotten() -> None:
    rejections = Rejections()
    rejections.forget(["a"])
    rejections.keep(frozenset())
    for name in ("a", "b", "c"):
        rejections.add(resource(name), "why")
    rejections.forget(["a", "x"])
    rejections.keep(frozenset({"a", "b"}))
    assert rejections.names == ["b"]


def test_what_is_remembered_is_bounded() -> None:
    rejections = Rejections()
    for i in range(KEPT_VERSIONS + 1):
        rejections.add(resource("a", b"%d" % i), "x" * 2 * REASON_LENGTH)
    assert resource("a", b"0") not in rejections
    assert resource("a", b"1") in rejections
    assert len(rejections.reason(resource("a", b"1"))) == REASON_LENGTH


@pytest.mark.parametrize(
    ("reason", "names"),
    [
        ("Error adding/updating cluster(s) shop.prod: no", {"shop.prod"}),
        ("[resource index 0: shop.prod: INVALID], [cart.prod: INVALID]", {"shop.prod", "cart.prod"}),
        ("it ends with shop.prod.", {"shop.prod"}),
        ("shop.prod", {"shop.prod"}),
        ("shop.prod|version=v2: no", {"shop.prod|version=v2"}),
        ("shop.production, shop.prod.local, my-shop.prod and eu.shop.prod, then shop.prod", {"shop.prod"}),
        ("shop.production", {"shop.prod", "cart.prod", "shop.prod|version=v2"}),
        ("", {"shop.prod", "cart.prod", "shop.prod|version=v2"}),
    ],
)
def test_those_are_blamed_that_are_named_or_all(reason: str, names: set[str]) -> None:
    resources = [resource(name) for name in ("shop.prod", "cart.prod", "shop.prod|version=v2")]
    assert {each.name for each in blamed(resources, reason)} == names


def test_one_alone_is_blamed_whatever_is_said() -> None:
    alone = [resource("a")]
    assert blamed(alone, "b is bad") == alone
