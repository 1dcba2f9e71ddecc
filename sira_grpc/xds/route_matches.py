"""Matches of routes: which calls a route is for. Source: gRFC A28."""

from __future__ import annotations

from itertools import product

from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.config.route.v3.route_components_pb2 import RouteMatch as XdsRouteMatch
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from sira.registry.v1.route_pb2 import HeaderMatch, Route, RouteMatch

from sira_grpc.xds.node import ENVOY, NODE_JS, Node

MATCH_ABSENT = frozenset({NODE_JS, ENVOY})
"""Kinds for which an inverted match of a value can hold where the key is not there at all."""
MAX_ABSENT = 4
"""Inverted matches in one RouteMatch that the other kinds can be told: each doubles the routes they get."""

_ANY_PATH = "/"


def route_matches(route: Route, node: Node) -> list[XdsRouteMatch]:
    """Returns matches of which a call must meet one to meet those of a route."""
    return [told for match in route.matches or [RouteMatch()] for told in _alternatives(match, node)]


def every_call() -> XdsRouteMatch:
    """Returns the match that every call meets."""
    return XdsRouteMatch(prefix=_ANY_PATH)


def doubles(header: HeaderMatch, node: Node) -> bool:
    """Whether a client has to be told a match in two: that the value is another one, or that the key is not there."""
    if not header.invert or header.WhichOneof("value") == "present":
        return False
    # To an Envoy a key that is not there can be an empty value; that is no help if the value to avoid is empty.
    return node.kind not in MATCH_ABSENT or (node.envoy and header.WhichOneof("value") == "exact" and not header.exact)


def _alternatives(match: RouteMatch, node: Node) -> list[XdsRouteMatch]:
    doubled = [header for header in match.headers if doubles(header, node)][:MAX_ABSENT]
    choices = [
        (_header(each, node), _presence(each.name, wanted=False)) if each in doubled else (_header(each, node),)
        for each in match.headers
    ]
    path = {"path": match.path_exact} if match.WhichOneof("path") == "path_exact" else {"prefix": _prefix(match)}
    return [XdsRouteMatch(headers=headers, **path) for headers in product(*choices)]


def _prefix(match: RouteMatch) -> str:
    return match.path_prefix or _ANY_PATH


def _header(match: HeaderMatch, node: Node) -> HeaderMatcher:
    kind = match.WhichOneof("value")
    if kind == "present":
        return _presence(match.name, wanted=match.present != match.invert)
    value = StringMatcher(**{str(kind): getattr(match, str(kind))})
    told = HeaderMatcher(name=match.name, string_match=value, invert_match=match.invert)
    told.treat_missing_header_as_empty = node.envoy and match.invert and not doubles(match, node)
    return told


def _presence(name: str, *, wanted: bool) -> HeaderMatcher:
    # gRPC for Node takes `present_match: false` for true, but knows `invert_match`.
    return HeaderMatcher(name=name, present_match=True, invert_match=not wanted)
