"""`sira resolve`: the endpoints of a service, as one caller should use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import cells, names, place
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.output import Column, Format, say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.registry.v1.resolver_service_pb2 import ResolvedEndpoint

COLUMNS: Sequence[Column[ResolvedEndpoint]] = (
    ("NAME", lambda endpoint: names.short(endpoint.name)),
    ("ADDRESS", lambda endpoint: cells.address(endpoint.addresses[0], endpoint.port)),
    ("WEIGHT", lambda endpoint: str(endpoint.weight)),
    ("PRIORITY", lambda endpoint: str(endpoint.priority)),
    ("LOCALITY", lambda endpoint: cells.locality(endpoint.locality)),
    ("STATE", lambda endpoint: cells.state(endpoint.state)),
)


@connected
def resolve(
    session: Session,
    service: Annotated[str, typer.Argument(help="Name of the service, such as `checkout`.")],
    namespace: Namespace = None,
    region: place.Region = "",
    zone: place.Zone = "",
    client_id: Annotated[str, typer.Option(help="Who the caller is, for subsetting.")] = "",
    hash_key: Annotated[str, typer.Option(help="The key to hash under ring-hash.")] = "",
    include_unhealthy: Annotated[bool, typer.Option("--all", help="Also those that are not healthy, last.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0: all.")] = 0,
) -> None:
    """Show the endpoints that a caller should use, in order.

    A service that is not there ends in exit code 3; one with nothing healthy is an empty answer.
    """
    from sira.registry.v1.resolver_service_pb2 import ResolveRequest

    request = ResolveRequest(
        service=names.service_name(service, session.namespace(namespace)),
        locality=place.locality(region, zone),
        client_id=client_id,
        hash_key=hash_key,
        include_unhealthy=include_unhealthy,
        limit=limit,
    )
    answer = session.call(session.resolver.Resolve, request)
    if not answer.endpoints:
        say(f"{request.service} has no healthy endpoint; {answer.registered} registered")
    if session.printer.format is not Format.TABLE:
        session.printer.one(answer, ())
    elif answer.endpoints:
        session.printer.many(answer.endpoints, COLUMNS)
