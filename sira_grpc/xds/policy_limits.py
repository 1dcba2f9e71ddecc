"""Policy limits: how much the policies of a service may amount to in what clients are sent.

The rules of the protos bound each part of a policy. What all parts together come to is bounded here: what is built for
one service must neither hold up the others nor be more than clients take in one message.
"""

from __future__ import annotations

from collections.abc import Iterator

from sira.registry.v1.access_policy_pb2 import AccessPolicy
from sira.registry.v1.route_pb2 import Route, RouteMatch
from sira.registry.v1.service_pb2 import Service

from sira_grpc.errors import FieldViolation, InvalidField
from sira_grpc.registry.policy_checks import POLICY, destinations
from sira_grpc.xds.names import Target, cluster
from sira_grpc.xds.node import C_CORE, ENVOY, UNKNOWN, Node
from sira_grpc.xds.route_matches import MAX_ABSENT, doubles
from sira_grpc.xds.subscription import NAME_LENGTH
from sira_grpc.xds.virtual_hosts import unmatched_route

MAX_TARGETS = 128
"""Services, and parts of services, that a policy sends calls to: each has endpoints of its own, at each change."""
MAX_MATCHES = 8192
"""Routes that a client is sent, and headers that they match: what takes time to build, some 60 ms."""
MAX_BYTES = 1 << 20
"""Of the routes, or access rules, of a service. Clients of gRPC take messages of 4 MiB."""
MAX_RULES = 4096
"""Sources and methods in the access rules of a service."""

_ACCESS = "service.access_policy.allow"
_ROUTES = f"{POLICY}.routes"
_MOST_MATCHES = Node(id="", kind=UNKNOWN)
"""A client of a kind that is told inverted matches in two."""
_MOST_ACTIONS = tuple(Node(id="", kind=kind) for kind in (C_CORE, ENVOY))
"""Of the kinds that are told most of what becomes of calls."""
_OF_MATCH = 16
"""Bytes that a route, or a header of its match, takes to be told, beside its content."""
_OF_RULE = 288
"""Bytes that a source of an access rule takes to be told, beside its name: the trust domain has up to 255."""


def check(service: Service) -> None:
    """Makes sure that what the policies of a service amount to is bounded.

    The count of all that is to be built comes before anything is built.

    Raises:
        InvalidField: it is too much.
    """
    for violations in (_targets(service), _matches(service), _bytes(service), _rules(service.access_policy)):
        found = list(violations)
        if found:
            raise InvalidField(found)


def _targets(service: Service) -> Iterator[FieldViolation]:
    found: set[Target] = set()
    for path, destination in destinations(service.traffic_policy):
        target = Target.of(destination, service.name)
        length = len(cluster(target)) if target not in found else 0
        if length > NAME_LENGTH:
            rule = f"with service and version, escaped as in URLs, has at most {NAME_LENGTH} characters, not {length}"
            yield FieldViolation(f"{POLICY}.{path}.metadata", rule)
        found.add(target)
    if len(found) > MAX_TARGETS:
        yield FieldViolation(_ROUTES, f"send calls to at most {MAX_TARGETS} different destinations, not {len(found)}")


def _matches(service: Service) -> Iterator[FieldViolation]:
    count = sum(_alternatives(m) * (1 + len(m.headers)) for r in service.traffic_policy.routes for m in _each_match(r))
    if count > MAX_MATCHES:
        rule = f"have at most {MAX_MATCHES} matches and headers, not {count}: each inverted header that is matched by"
        yield FieldViolation(_ROUTES, f"{rule} its value doubles those of its match")


def _bytes(service: Service) -> Iterator[FieldViolation]:
    count = route_bytes(service)
    if count > MAX_BYTES:
        rule = f"amount to at most {MAX_BYTES} bytes in what clients are sent, not {count}"
        yield FieldViolation(_ROUTES, f"{rule}: the splits of a route count for each of its matches")


def route_bytes(service: Service) -> int:
    """Returns how large the routes of a service are, serialized for the kind of client that needs most, or more."""
    count = 0
    for number, route in enumerate(service.traffic_policy.routes):
        action = max(unmatched_route(service, number, node).ByteSize() for node in _MOST_ACTIONS)
        for match in _each_match(route):
            told = match.ByteSize() + _OF_MATCH * (1 + len(match.headers))
            count += _alternatives(match) * (told + action)
    return count


def _rules(policy: AccessPolicy) -> Iterator[FieldViolation]:
    count = sum(len(rule.sources) + len(rule.methods) for rule in policy.allow)
    if count > MAX_RULES:
        yield FieldViolation(_ACCESS, f"have at most {MAX_RULES} sources and methods, not {count}")
    size = policy.ByteSize() + sum(
        _OF_RULE * len(rule.sources) + _OF_MATCH * len(rule.methods) for rule in policy.allow
    )
    if size > MAX_BYTES:
        yield FieldViolation(_ACCESS, f"amount to at most {MAX_BYTES} bytes in what servers are sent, not {size}")


def _each_match(route: Route) -> Iterator[RouteMatch]:
    yield from route.matches or (RouteMatch(),)


def _alternatives(match: RouteMatch) -> int:
    return 1 << min(MAX_ABSENT, sum(doubles(header, _MOST_MATCHES) for header in match.headers))
