"""`sira election`: who leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import cells, names
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.output import say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.cluster.v1.election_service_pb2 import Election

app = typer.Typer(help="Elections: who of several candidates leads.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the election, such as `primary`.")]


def _line(election: Election) -> str:
    if not election.HasField("leader"):
        return f"{election.revision:>8}  nobody leads"
    leader = election.leader
    value = cells.text(leader.value.decode(errors="replace"))
    who = cells.text(leader.label or leader.owner)
    return f"{election.revision:>8}  {who} leads, term {leader.term}, {election.candidates} waiting  {value}".rstrip()


@app.command("get")
@connected
def get_election(session: Session, name: Name, namespace: Namespace = None) -> None:
    """Show who leads now."""
    from sira.cluster.v1.election_service_pb2 import GetElectionRequest

    request = GetElectionRequest(name=names.election_name(name, session.namespace(namespace)))
    election = session.call(session.elections.GetElection, request).election
    session.printer.next(election, lambda: [_line(election)])


@app.command("observe")
@connected
def observe(session: Session, name: Name, namespace: Namespace = None) -> None:
    """Show who leads, and each that comes to lead or proclaims something else, until Ctrl-C."""
    from sira.cluster.v1.election_service_pb2 import ObserveRequest

    request = ObserveRequest(name=names.election_name(name, session.namespace(namespace)))
    try:
        for message in session.stream(session.elections.Observe, request):
            election = message.election
            session.printer.next(election, lambda election=election: [_line(election)])  # type: ignore[misc]
    except KeyboardInterrupt:
        say("stopped")
