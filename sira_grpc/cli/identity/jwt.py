"""`sira identity jwt`: a JWT-SVID, for those who cannot do mutual TLS."""

from __future__ import annotations

from typing import Annotated

import typer

from sira_grpc.cli import durations, spiffe_names
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.output import Format
from sira_grpc.cli.session import Session


@connected
def jwt(
    session: Session,
    audience: Annotated[
        list[str] | None,
        typer.Option(help="Whom it is to be shown to; repeatable. Default: the kernel."),
    ] = None,
    identity: Annotated[
        str | None, typer.Option(help="Whom it is for, such as `checkout` or `node/web-1`. Default: the caller.")
    ] = None,
    ttl: Annotated[str | None, typer.Option(help="How long it is valid, 10s to 1h. Default: 5m.")] = None,
    namespace: Namespace = None,
) -> None:
    """Have a JWT-SVID issued, and print it alone."""
    from sira.identity.v1.identity_service_pb2 import IssueJwtRequest

    request = IssueJwtRequest(audiences=audience or [f"spiffe://{session.trust_domain}"])
    if identity is not None:
        request.identity = spiffe_names.identity(session, identity, namespace, "--identity")
    if ttl is not None:
        request.ttl.FromTimedelta(durations.parse(ttl, "--ttl"))
    answer = session.call(session.identity.IssueJwt, request)
    if session.printer.format is Format.TABLE:
        print(answer.token)
    else:
        session.printer.one(answer, ())
