"""What `sira why` prints, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sira_grpc.cli import cells, names
from sira_grpc.cli.output import Column, plain
from sira_grpc.cli.why.findings import TYPES, Finding, difference, type_name

if TYPE_CHECKING:
    from sira.xds.v1.client_pb2 import Client, ClientKind, ClientResource, ResourceState

_STYLES = {"ACKNOWLEDGED": "green", "REJECTED": "red", "MISSING": "magenta", "PENDING": "yellow", "SENT": "cyan"}


def kind(value: ClientKind.ValueType) -> str:
    """`c-core`, `envoy`; empty for one that is not known."""
    from sira.xds.v1.client_pb2 import ClientKind

    name = ClientKind.Name(value).removeprefix("CLIENT_KIND_").lower().replace("_", "-")
    return "" if name == "unspecified" else name


def state(value: ResourceState.ValueType) -> str:
    """How far a resource has come, coloured."""
    from sira.xds.v1.client_pb2 import ResourceState

    name = ResourceState.Name(value).removeprefix("RESOURCE_STATE_")
    return f"[{_STYLES[name]}]{name}[/]" if name in _STYLES else name


CLIENTS: Sequence[Column[Client]] = (
    ("NODE", lambda client: cells.text(client.node)),
    ("SERVICE", lambda client: names.short(client.service)),
    ("KIND", lambda client: kind(client.kind)),
    ("USER AGENT", lambda client: cells.text(client.user_agent)),
    ("LOCALITY", lambda client: cells.locality(client.locality)),
    ("RESOURCES", lambda client: str(client.resources)),
    ("REJECTED", lambda client: f"[red]{client.rejected}[/]" if client.rejected else "0"),
    ("SINCE", lambda client: cells.age(client.connect_time)),
)
RESOURCES: Sequence[Column[ClientResource]] = (
    ("TYPE", type_name),
    ("NAME", lambda resource: cells.text(resource.name)),
    ("STATE", lambda resource: state(resource.state)),
    ("SENT", lambda resource: resource.sent_version),
    ("NOW", lambda resource: "same" if _same(resource) else resource.current_version or "gone"),
)


def in_order(resources: Iterable[ClientResource]) -> list[ClientResource]:
    """The resources in the order in which a client asks for them; secrets come last."""
    place = {name: number for number, name in enumerate(TYPES)}
    return sorted(resources, key=lambda resource: (place.get(type_name(resource), len(TYPES)), resource.name))


def heading(client: Client) -> str:
    """Who a client is, in one line."""
    protocol = "delta" if client.delta else "state of the world"
    told = (client.identity, client.user_agent, protocol, f"connected for {cells.age(client.connect_time)}")
    return f"[bold]{cells.text(client.node or client.stream)}[/] ({cells.text(', '.join(filter(None, told)))})"


def notes(finding: Finding, service: str) -> Iterator[str]:
    """What there is to say of a client besides the states of its resources, a line each."""
    for resource in in_order(finding.explained.resources):
        if resource.rejection:
            told = f"{type_name(resource)} {resource.name}: {resource.rejection}"
            yield f"[red]rejected[/] {cells.text(told)}"
        yield from (cells.text(line) for line in difference(resource))
    left_out = finding.explained.client.resources - len(finding.explained.resources)
    if not service and left_out > 0:
        yield f"{cells.count(left_out, 'resource')} more: name a service to see what concerns it"
    if finding.asked_not:
        target = ".".join(reversed(service.split("/")[1::2]))
        yield f"not subscribed: no {', '.join(finding.asked_not)} of {target}{_hint(finding, target)}"
    for limit in finding.limits:
        yield cells.text(
            f"not done by {kind(finding.explained.client.kind)}: {limit.field}: {limit.why} ({limit.source})"
        )


def data(finding: Finding) -> dict[str, Any]:
    """All of it as plain data."""
    return {
        **plain(finding.explained),
        "notSubscribed": list(finding.asked_not),
        "limits": [asdict(limit) for limit in finding.limits],
    }


def _hint(finding: Finding, target: str) -> str:
    if "Listener" in finding.asked_not:
        return f"; nothing in it has called xds:///{target}"
    return "; it asks for each only once it uses the one before"


def _same(resource: ClientResource) -> bool:
    return bool(resource.current_version) and resource.sent_version == resource.current_version
