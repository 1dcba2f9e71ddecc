from __future__ import annotations

from base64 import b64encode

import pytest
from sira.registry.v1.session_affinity_pb2 import SessionAffinity
from sira_client import Endpoint
from sira_client.balanced.session import Place, address_of, applies, find, set_cookie

COOKIE = SessionAffinity(cookie="home")
PLACE = Place("10.0.0.1:8080", "cart.shop|version=v2")


def value(text: str) -> str:
    return b64encode(text.encode()).decode()


def test_a_cookie_comes_back_as_the_place_that_it_names() -> None:
    pair = set_cookie(COOKIE, PLACE).split("; ")[0]
    assert pair == f"home={value('10.0.0.1:8080;cart.shop|version=v2')}"
    assert find(COOKIE, [("cookie", f"a=b; {pair}; c=d")]) == PLACE


def test_what_a_cookie_says_of_itself() -> None:
    affinity = SessionAffinity(cookie="home", path="/shop.Cart/")
    affinity.ttl.seconds = 600
    assert set_cookie(COOKIE, PLACE).split("; ")[1:] == ["HttpOnly"]
    assert set_cookie(affinity, PLACE).split("; ")[1:] == ["HttpOnly", "Path=/shop.Cart/", "Max-Age=600"]


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ([], None),
        ([("cookie", "other=x")], None),
        ([("cookie-bin", b"home=x")], None),
        ([("cookie", "home=%")], None),
        ([("cookie", f"home={b64encode(bytes([255, 254])).decode()}")], None),
        ([("cookie", "home=")], Place("")),
        ([("cookie", "other=x"), ("cookie", f"home={value('h:1')}")], Place("h:1")),
        ([("cookie", f'home="{value("h:1;c")}"')], Place("h:1", "c")),
        ([("cookie", f"home={value('a:1,b:2;c')}")], Place("a:1", "c")),
        ([("cookie", f"home={value('a:1')}; home={value('b:1')}")], Place("a:1")),
    ],
)
def test_cookies_of_all_kinds(metadata: list[tuple[str, str | bytes]], expected: Place | None) -> None:
    assert find(COOKIE, metadata) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [("", True), ("/", True), ("/a.B", True), ("/a.B/", True), ("/a.B/C", True), ("/a", False), ("/a.B/D", False)],
)
def test_paths_of_cookies(path: str, expected: bool) -> None:
    assert applies(SessionAffinity(cookie="home", path=path), "/a.B/C") is expected


def test_addresses() -> None:
    assert address_of(Endpoint(addresses=["10.0.0.1", "10.0.0.2"], port=80)) == "10.0.0.1:80"
    assert address_of(Endpoint(addresses=["::1"], port=80)) == "[::1]:80"
