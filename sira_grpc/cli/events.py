"""`sira events`: the last changes of the registry, and their causes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import cells, names
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.output import Column
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.registry.v1.event_pb2 import Event


def _type(event: Event) -> str:
    from sira.registry.v1.event_pb2 import EventType

    return EventType.Name(event.type).removeprefix("EVENT_TYPE_")


COLUMNS: Sequence[Column[Event]] = (
    ("TIME", lambda event: cells.moment(event.time)),
    ("TYPE", _type),
    ("RESOURCE", lambda event: event.resource if event.resource.startswith("leases/") else names.short(event.resource)),
    ("CAUSE", lambda event: cells.text(event.cause)),
    ("ACTOR", lambda event: cells.text(event.actor)),
    ("REVISION", lambda event: str(event.revision or "")),
)


@connected
def events(
    session: Session,
    resource: Annotated[str, typer.Argument(help="Only of this service or endpoint, such as `checkout`.")] = "",
    namespace: Namespace = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0: all that are kept.")] = 20,
) -> None:
    """Show the last changes and why they happened, the newest first."""
    from sira.registry.v1.resolver_service_pb2 import ListEventsRequest

    name = _resource(resource, session.namespace(namespace)) if resource else ""
    if namespace and not resource:
        name = names.namespace_name(session.namespace(namespace))
    found = session.pages(session.resolver.ListEvents, ListEventsRequest(resource=name), "events", limit=limit)
    session.printer.many(found, COLUMNS)


def _resource(name: str, namespace: str) -> str:
    return name if name.startswith("leases/") else names.service_or_endpoint_name(name, namespace)
