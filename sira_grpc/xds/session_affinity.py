"""Session affinity: the cookie that keeps the calls of a session at one endpoint. Sources: gRFCs A55 and A60."""

from __future__ import annotations

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import (
    StatefulSession,
    StatefulSessionPerRoute,
)
from envoy.extensions.http.stateful_session.cookie.v3.cookie_pb2 import CookieBasedSessionState
from envoy.type.http.v3.cookie_pb2 import Cookie
from sira.registry.v1.session_affinity_pb2 import SessionAffinity

from sira_grpc.xds.packing import packed

_COOKIE = "envoy.http.stateful_session.cookie"


def stateful_session(affinity: SessionAffinity) -> StatefulSessionPerRoute:
    """Returns the configuration of the stateful session filter for the routes of a service."""
    cookie = Cookie(name=affinity.cookie, path=affinity.path)
    if affinity.ttl.ToTimedelta():  # a TTL of zero would have the cookie expire at once
        cookie.ttl.CopyFrom(affinity.ttl)
    state = TypedExtensionConfig(name=_COOKIE, typed_config=packed(CookieBasedSessionState(cookie=cookie)))
    return StatefulSessionPerRoute(stateful_session=StatefulSession(session_state=state))
