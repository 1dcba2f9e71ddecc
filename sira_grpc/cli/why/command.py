"""The command that explains clients."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import names, service_edits
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Format, say
from sira_grpc.cli.session import Session
from sira_grpc.cli.why import members, telling
from sira_grpc.cli.why.findings import Finding, examine

if TYPE_CHECKING:
    from sira.registry.v1.service_pb2 import Service
    from sira.xds.v1.client_service_pb2 import ExplainedClient


@connected
def why(
    session: Session,
    client: Annotated[
        str, typer.Argument(help="Node id, SPIFFE ID or service of the client. Without it, the clients are listed.")
    ] = "",
    service: Annotated[str, typer.Argument(help="Only what concerns this service, such as `checkout`.")] = "",
    namespace: Namespace = None,
) -> None:
    """Explain what a client was sent over xDS, what it rejected and why, and what it would get now, as a diff."""
    if not client:
        _list(session)
        return
    full = names.service_name(service, session.namespace(namespace)) if service else ""
    explained = list(_explain(session, client, full, session.namespace(namespace)))
    if not explained:
        raise Failure(f"no client {client} takes its configuration over xDS; `sira why` lists them", ExitCode.NOT_FOUND)
    known = _service(session, full) if full else None
    findings = [examine(each, full, known) for each in explained]
    if session.printer.format is Format.TABLE:
        for finding in findings:
            _tell(session, finding, full)
    else:
        session.printer.data([telling.data(finding) for finding in findings])


def _list(session: Session) -> None:
    from sira.xds.v1.client_service_pb2 import ListClientsRequest

    pages = members.ask(session, lambda one: one.pages(one.clients.ListClients, ListClientsRequest(), "clients"))
    session.printer.many([client for page in pages for client in page], telling.CLIENTS)


def _explain(session: Session, client: str, service: str, namespace: str) -> Iterator[ExplainedClient]:
    """Asks every member for the client, by what was typed, or by the service of that name."""
    found = False
    for name in dict.fromkeys((client, names.service_name(client, namespace))):
        for explained in members.ask(session, partial(_of_member, client=name, service=service)):
            found = found or bool(explained)
            yield from explained
        if found:
            return


def _of_member(session: Session, *, client: str, service: str) -> list[ExplainedClient]:
    from sira.xds.v1.client_service_pb2 import ExplainClientRequest

    request = ExplainClientRequest(client=client, service=service)
    try:
        return list(session.call(session.clients.ExplainClient, request).clients)
    except Failure as failure:
        if failure.code is ExitCode.NOT_FOUND:
            return []
        raise


def _service(session: Session, name: str) -> Service | None:
    try:
        return service_edits.read(session, name)
    except Failure as failure:
        if failure.code is not ExitCode.NOT_FOUND:
            raise
        say(f"{name} is not there")
        return None


def _tell(session: Session, finding: Finding, service: str) -> None:
    printer = session.printer
    printer.line(telling.heading(finding.explained.client))
    if finding.explained.resources:
        printer.rows(telling.in_order(finding.explained.resources), telling.RESOURCES)
    for line in telling.notes(finding, service):
        printer.line(line)
