"""Capabilities: what each kind of client makes of what a policy asks for, and the refusal of what it does not do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from sira.registry.v1.route_pb2 import HeaderMatch
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, TrafficPolicy
from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.errors import PolicyNotSupported
from sira_grpc.xds.http_filters import KEEP_SESSIONS
from sira_grpc.xds.node import C_CORE, ENVOY, GO, JAVA, NODE_JS, UNKNOWN, Node
from sira_grpc.xds.route_matches import MATCH_ABSENT, MAX_ABSENT, doubles

Kind: TypeAlias = ClientKind.ValueType

GRPC = frozenset({C_CORE, GO, JAVA, NODE_JS})
KINDS = GRPC | {ENVOY, UNKNOWN}

_POLICY = "service.traffic_policy"
_WITH_RBAC = "the server needs GRPC_XDS_EXPERIMENTAL_RBAC=true in its environment, and does not serve without"
_ROUND_ROBIN = "it is ROUND_ROBIN"
_NOT_TOLD = "it is not told of it, because it does not say what it is"
_WITH_WRR = "needs GRPC_EXPERIMENTAL_XDS_WRR_LB=true in the client's environment; it is ROUND_ROBIN without"


@dataclass(frozen=True, slots=True)
class Limit:
    """Something in a policy that a kind of client does not do, or not quite.

    Attributes:
        field: its path in the request that writes the service.
        why: what the client does instead.
        source: where that is said.
        refused: a write is refused as long as a client of the kind is connected: what was asked for is dropped whole.
            Otherwise the client comes as near to it as it can.
    """

    field: str
    why: str
    source: str
    refused: bool


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that a policy can ask for.

    Attributes:
        name: for people.
        source: where it is said which clients have it.
        used: yields the paths of the fields of a service that ask for it, of a kind of client.
        refused: by kind that does not have it at all, what it would do.
        limited: by kind that has it in part, or under a condition, what it does.
    """

    name: str
    source: str
    used: Callable[[Service, Kind], Iterable[str]]
    refused: Mapping[Kind, str] = field(default_factory=dict)
    limited: Mapping[Kind, str] = field(default_factory=dict)

    def limit(self, kind: Kind) -> tuple[str, bool] | None:
        """Returns what a kind of client does instead, and whether that is refused; None if it has the feature."""
        if kind in self.refused:
            return self.refused[kind], True
        return (self.limited[kind], False) if kind in self.limited else None


def unsupported(service: Service, kind: Kind) -> list[Limit]:
    """Returns what in the policy of a service a kind of client does not do, or not quite."""
    return [
        Limit(path, told[0], feature.source, told[1])
        for feature in FEATURES
        if (told := feature.limit(kind)) is not None
        for path in feature.used(service, kind)
    ]


def check(service: Service, kinds: Iterable[Kind]) -> None:
    """Makes sure that every kind of client that is connected does what the policy of a service asks for.

    Raises:
        PolicyNotSupported: one does not; metadata `field` and `kind` say what and which.
    """
    for kind in sorted(set(kinds)):
        for limit in unsupported(service, kind):
            if limit.refused:
                name = ClientKind.Name(kind).removeprefix("CLIENT_KIND_")
                raise PolicyNotSupported(
                    f"{limit.field}: clients of the kind {name} are connected: {limit.why} ({limit.source})",
                    metadata={"resource": service.name, "field": limit.field, "kind": name},
                )


def _of_all(why: str, kinds: Iterable[Kind]) -> dict[Kind, str]:
    return dict.fromkeys(kinds, why)


def _mirrors(service: Service, kind: Kind) -> Iterator[str]:
    policy = service.traffic_policy
    if policy.HasField("mirror"):
        yield f"{_POLICY}.mirror"
    yield from (f"{_POLICY}.routes[{n}].mirror" for n, route in enumerate(policy.routes) if route.HasField("mirror"))


def _timeouts(service: Service, kind: Kind) -> Iterator[str]:
    policy = service.traffic_policy
    if policy.HasField("timeout"):
        yield f"{_POLICY}.timeout"
    yield from (f"{_POLICY}.routes[{n}].timeout" for n, route in enumerate(policy.routes) if route.HasField("timeout"))


def _absent_matches(service: Service, kind: Kind) -> Iterator[str]:
    node = Node(id="", kind=kind)
    for number, route in enumerate(service.traffic_policy.routes):
        for place, match in enumerate(route.matches):
            if _doubled(match.headers, node) > MAX_ABSENT:
                yield f"{_POLICY}.routes[{number}].matches[{place}].headers"


def _doubled(headers: Iterable[HeaderMatch], node: Node) -> int:
    return sum(doubles(header, node) for header in headers)


def _set(name: str) -> Callable[[Service, Kind], Iterator[str]]:
    """Returns what yields a field of the traffic policy if it is set; the name may have parts."""
    parts = name.split(".")

    def used(service: Service, kind: Kind) -> Iterator[str]:
        message: object = service.traffic_policy
        for part in parts:
            message = getattr(message, part)
        if message if not hasattr(message, "ByteSize") else message.ByteSize():
            yield f"{_POLICY}.{name}"

    return used


def _balances(wanted: LbPolicy.ValueType) -> Callable[[Service, Kind], Iterator[str]]:
    def used(service: Service, kind: Kind) -> Iterator[str]:
        policy: TrafficPolicy = service.traffic_policy
        if policy.lb_policy == wanted:
            yield f"{_POLICY}.lb_policy"

    return used


def _access(service: Service, kind: Kind) -> Iterator[str]:
    if service.HasField("access_policy"):
        yield "service.access_policy"


FEATURES = (
    Feature(
        "mirroring",
        "gRFC A28 has no request_mirror_policies",
        _mirrors,
        refused=_of_all("they send no copies", GRPC),
        limited={UNKNOWN: _NOT_TOLD},
    ),
    Feature(
        "session affinity",
        "gRFC A55; the filters that Go 1.85, Java 1.85 and Node 1.14 register",
        _set("session_affinity"),
        refused=_of_all("they reject the filter stateful_session", GRPC - KEEP_SESSIONS),
        limited={UNKNOWN: _NOT_TOLD},
    ),
    Feature(
        f"more than {MAX_ABSENT} inverted matches of values at once",
        "the header matchers of C-core, grpc-go and grpc-java",
        _absent_matches,
        refused=_of_all("they match no call without the key", GRPC - MATCH_ABSENT),
        limited={UNKNOWN: "it may match no call without the key"},
    ),
    Feature(
        "timeouts",
        "gRFC A31; grpcio 1.60 to 1.85 end calls 1 to 2 s before the bound that they are told of",
        _timeouts,
        limited={C_CORE: "it may let a call go on for up to 1 s more"},
    ),
    Feature(
        "least request",
        "gRFC A48; the registries of load balancing policies of C-core 1.85 and Node 1.14",
        _balances(LbPolicy.LB_POLICY_LEAST_REQUEST),
        limited=_of_all(_ROUND_ROBIN, {C_CORE, NODE_JS, UNKNOWN}),
    ),
    Feature(
        "random",
        "gRFC A52 has no envoy.load_balancing_policies.random",
        _balances(LbPolicy.LB_POLICY_RANDOM),
        limited=_of_all(_ROUND_ROBIN, GRPC | {UNKNOWN}),
    ),
    Feature(
        "weights by reported load",
        "gRFC A58; environment.ts of grpc-js-xds 1.14",
        _balances(LbPolicy.LB_POLICY_ORCA_WEIGHTED),
        limited={NODE_JS: _WITH_WRR, UNKNOWN: _ROUND_ROBIN},
    ),
    Feature(
        "bound on connections",
        "gRFC A32 has max_requests alone",
        _set("circuit_breakers.max_connections"),
        limited=_of_all("it holds one connection to each endpoint", GRPC | {UNKNOWN}),
    ),
    Feature(
        "bound on calls that wait",
        "gRFC A32 has max_requests alone",
        _set("circuit_breakers.max_pending_requests"),
        limited=_of_all("calls that wait count as calls under way", GRPC | {UNKNOWN}),
    ),
    Feature(
        "access rules",
        "gRFC A41; environment.ts of grpc-js-xds 1.14",
        _access,
        limited={NODE_JS: _WITH_RBAC},
    ),
)
"""What not every kind of client does. What is not here all of them do: splits and matches (gRFC A28), retries (A44),
faults (A33), bounds on calls (A32), outlier detection (A50), ring hash (A42), mutual TLS (A29), and what the endpoints
that they are given amount to: weights, localities, slow start, subsets."""
