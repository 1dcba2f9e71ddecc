"""`sira leases`: what keeps endpoints registered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import cells, durations, names
from sira_grpc.cli.commands import connected
from sira_grpc.cli.output import Column
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.registry.v1.lease_pb2 import Lease

app = typer.Typer(help="Leases: what keeps endpoints registered.", no_args_is_help=True)


def _state(lease: Lease) -> str:
    from sira.registry.v1.lease_pb2 import LeaseState

    return LeaseState.Name(lease.state).removeprefix("LEASE_STATE_")


COLUMNS: Sequence[Column[Lease]] = (
    ("NAME", lambda lease: lease.name),
    ("STATE", _state),
    ("ENDPOINTS", lambda lease: str(lease.endpoints)),
    ("TTL", lambda lease: durations.brief(lease.ttl.ToTimedelta())),
    ("OWNER", lambda lease: cells.text(lease.owner)),
    ("AGE", lambda lease: cells.age(lease.create_time)),
)
DETAILS: Sequence[Column[Lease]] = (
    *COLUMNS[:5],
    ("CREATED", lambda lease: cells.moment(lease.create_time)),
    ("EXPIRES", lambda lease: cells.moment(lease.expire_time)),
)


@app.command("list")
@connected
def list_leases(
    session: Session,
    query: Annotated[str, typer.Option("--filter", help='Such as `state = "SUSPECT"`.')] = "",
) -> None:
    """List leases by name."""
    from sira.registry.v1.resolver_service_pb2 import ListLeasesRequest

    session.printer.many(session.pages(session.resolver.ListLeases, ListLeasesRequest(filter=query), "leases"), COLUMNS)


@app.command("get")
@connected
def get_lease(session: Session, name: Annotated[str, typer.Argument(help="Name of the lease.")]) -> None:
    """Show one lease."""
    from sira.registry.v1.resolver_service_pb2 import GetLeaseRequest

    request = GetLeaseRequest(name=names.lease_name(name))
    session.printer.one(session.call(session.resolver.GetLease, request).lease, DETAILS)
