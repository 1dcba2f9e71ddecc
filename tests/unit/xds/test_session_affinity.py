from __future__ import annotations

from envoy.extensions.http.stateful_session.cookie.v3.cookie_pb2 import CookieBasedSessionState
from envoy.type.http.v3.cookie_pb2 import Cookie
from google.protobuf import text_format
from sira.registry.v1.session_affinity_pb2 import SessionAffinity

from sira_grpc.xds.session_affinity import stateful_session


def cookie(text: str) -> Cookie:
    told = stateful_session(text_format.Parse(text, SessionAffinity()))
    state = CookieBasedSessionState()
    assert told.stateful_session.session_state.typed_config.Unpack(state)
    return state.cookie


def test_the_cookie() -> None:
    told = cookie('cookie: "cart" ttl { seconds: 60 } path: "/shop.Cart/"')
    assert (told.name, told.path, told.ttl.seconds) == ("cart", "/shop.Cart/", 60)


def test_a_cookie_without_ttl_does_not_expire_at_once() -> None:
    assert not cookie('cookie: "cart"').HasField("ttl")
    assert not cookie('cookie: "cart" ttl {}').HasField("ttl")
    assert not cookie('cookie: "cart"').path
