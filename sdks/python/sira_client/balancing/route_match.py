"""Whether the match of a route holds for a call.

Source: gRFC A28, https://github.com/grpc/proposal/blob/master/A28-xds-traffic-splitting-and-routing.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sira.registry.v1.route_pb2 import HeaderMatch, RouteMatch

Headers = Mapping[str, str]
"""The metadata of a call, with the values of a key that comes more than once joined by commas."""
Matcher = Callable[[str, Headers], bool]
"""Tells of a method (`/package.Service/Method`) and the metadata whether a call matches."""


def headers_of(metadata: Iterable[tuple[str, str | bytes]]) -> Headers:
    """The metadata of a call as matches see it: without what is binary and what is gRPC's own."""
    found: dict[str, str] = {}
    for name, value in metadata:
        if not name.endswith("-bin") and not name.startswith("grpc-"):
            text = value if isinstance(value, str) else value.decode("ascii", "replace")
            found[name] = f"{found[name]},{text}" if name in found else text
    return found


def matcher(match: RouteMatch) -> Matcher:
    """What tells whether a call matches: by its path, and by all headers."""
    by_path = _path(match)
    headers = [_header(header) for header in match.headers]
    if not headers:
        return lambda method, _: by_path(method)
    return lambda method, found: by_path(method) and all(header(found) for header in headers)


def _path(match: RouteMatch) -> Callable[[str], bool]:
    path = match.path_exact or match.path_prefix
    match match.WhichOneof("path"):
        case "path_exact":
            return lambda method: method == path
        case "path_prefix":
            return lambda method: method.startswith(path)
        case _:
            return lambda _: True


def _header(match: HeaderMatch) -> Callable[[Headers], bool]:
    """A value that is not there is like nothing: with `invert` the call matches."""
    name, invert = match.name, match.invert
    kind = match.WhichOneof("value")
    if kind == "present":
        wanted = match.present is not invert
        return lambda found: (name in found) is wanted
    text: str = getattr(match, kind or "exact")
    holds = {"prefix": str.startswith, "suffix": str.endswith}.get(kind or "", str.__eq__)

    def matches(found: Headers) -> bool:
        value = found.get(name)
        return (value is not None and bool(holds(value, text))) is not invert

    return matches
