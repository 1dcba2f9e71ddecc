"""Nodes: who a client of xDS says it is, and what it accepts because of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.errors import FieldViolation, InvalidField
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.xds import names

C_CORE = ClientKind.CLIENT_KIND_C_CORE
GO = ClientKind.CLIENT_KIND_GO
JAVA = ClientKind.CLIENT_KIND_JAVA
NODE_JS = ClientKind.CLIENT_KIND_NODE
ENVOY = ClientKind.CLIENT_KIND_ENVOY
UNKNOWN = ClientKind.CLIENT_KIND_UNSPECIFIED

_KINDS = (("envoy", ENVOY), ("gRPC Go", GO), ("grpc-go", GO), ("gRPC Java", JAVA), ("gRPC Node", NODE_JS))
DEFAULT_NAMESPACE = "default"
MAX_UPSTREAMS = 4096
"""Services that a sidecar may name that it is for. One for more is for all."""
MAX_INBOUND = 16
"""Ports of a sidecar."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """A port of a sidecar.

    Attributes:
        port: where it listens.
        target_port: where the service listens, on loopback.
    """

    port: int
    target_port: int


@dataclass(frozen=True, slots=True)
class Node:
    """What resources may depend on of a client.

    Attributes:
        id: its own word for itself.
        kind: what it is built on.
        user_agent: with its version.
        region, zone: where it runs; empty means unknown.
        service: name of the service that it runs for; empty means unknown.
        namespace: id of the namespace in which short names are looked up.
        identity: its SPIFFE ID; empty where it showed none.
        inbound: ports of a sidecar.
        upstreams: names of the services that a sidecar is for; empty means all.
        egress_port: loopback port at which a sidecar takes calls to other services; 0 means none.
    """

    id: str
    kind: ClientKind.ValueType = UNKNOWN
    user_agent: str = ""
    region: str = ""
    zone: str = ""
    service: str = ""
    namespace: str = DEFAULT_NAMESPACE
    identity: str = ""
    inbound: tuple[Inbound, ...] = ()
    upstreams: frozenset[str] = frozenset()
    egress_port: int = 0

    @property
    def envoy(self) -> bool:
        """Whether it is an Envoy, and not a client of gRPC."""
        return self.kind == ENVOY


def read_node(message: Any, identity: SpiffeId | None) -> Node:
    """Reads an `envoy.config.core.v3.Node`. What is odd in it is left out: it is the client's own word.

    A verified identity of a service counts before what the node says: `cluster` may hold `{service}.{namespace}`, and
    the metadata `sira` a struct with `namespace`, `inbound` (a list of `{port, target_port}`), `upstreams` (a list of
    `{service}.{namespace}`) and `egress_port`. `tools` that make bootstraps write both.

    Raises:
        InvalidField: it names more upstreams or ports than a sidecar may have.
    """
    told = _fields(message.metadata.fields.get("sira"))
    service = identity.service_name if identity is not None else ""
    service = service or service_of(message.cluster)
    namespace = service.split("/")[1] if service else _namespace(told)
    return Node(
        id=message.id[:1024],
        kind=_kind(message.user_agent_name),
        user_agent=f"{message.user_agent_name} {_version(message)}".strip()[:256],
        region=message.locality.region[:63],
        zone=message.locality.zone[:63],
        service=service,
        namespace=namespace,
        identity=str(identity) if identity is not None else "",
        inbound=tuple(_inbound(told)),
        upstreams=_upstreams(told),
        egress_port=_port(told.get("egress_port")),
    )


def service_of(text: str) -> str:
    """Returns the resource name that `{service}.{namespace}` stands for; empty if it is none."""
    return names.service_named(text, "") if "." in text else ""


def _kind(user_agent: str) -> ClientKind.ValueType:
    for prefix, kind in _KINDS:
        if user_agent.startswith(prefix):
            return kind
    return C_CORE if user_agent.startswith("gRPC C-core") else UNKNOWN


def _version(message: Any) -> str:
    built = message.user_agent_build_version.version
    number = f"{built.major_number}.{built.minor_number}.{built.patch}"
    return message.user_agent_version or ("" if number == "0.0.0" else number)


def _fields(value: Any) -> Mapping[str, Any]:
    """Returns the fields of a google.protobuf.Value that is a struct; none of any other."""
    fields: Mapping[str, Any] = value.struct_value.fields if value is not None else {}
    return fields


def _namespace(told: Mapping[str, Any]) -> str:
    value = told.get("namespace")
    text = value.string_value if value is not None else ""
    return text if names.is_id(text) else DEFAULT_NAMESPACE


def _list(told: Mapping[str, Any], key: str, limit: int) -> Sequence[Any]:
    value = told.get(key)
    values: Sequence[Any] = value.list_value.values if value is not None else ()
    if len(values) > limit:
        raise InvalidField([FieldViolation(f"node.metadata.sira.{key}", f"has at most {limit} elements")])
    return values


def _upstreams(told: Mapping[str, Any]) -> frozenset[str]:
    found = (service_of(value.string_value) for value in _list(told, "upstreams", MAX_UPSTREAMS))
    return frozenset(filter(None, found))


def _inbound(told: Mapping[str, Any]) -> Iterator[Inbound]:
    for value in _list(told, "inbound", MAX_INBOUND):
        fields = _fields(value)
        port, target = _port(fields.get("port")), _port(fields.get("target_port"))
        if port and target:
            yield Inbound(port, target)


def _port(value: Any) -> int:
    number = value.number_value if value is not None else 0
    return int(number) if 1 <= number <= 65535 and number == int(number) else 0
