"""`sira tls`: the certificates that were issued, and what a server shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import cells, spiffe_names
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.join_tokens import PREFIX
from sira_grpc.cli.output import Column, Format, say
from sira_grpc.cli.session import Session
from sira_grpc.cli.tls_check import check

if TYPE_CHECKING:
    from sira.identity.v1.certificate_pb2 import Certificate

app = typer.Typer(help="Certificates that were issued, and what a server shows.", no_args_is_help=True)
app.command("check")(check)

_SERIAL = re.compile(r"[0-9a-f]{24,40}")
"""Ours have 38 to 40 digits, bar a chance in millions."""


def _state(certificate: Certificate) -> str:
    if certificate.HasField("revoke_time"):
        return "[red]revoked[/]"
    if certificate.expire_time.ToDatetime(UTC) <= datetime.now(UTC):
        return "expired"
    return "renewed" if certificate.superseded_by else "[green]live[/]"


def _requester(certificate: Certificate) -> str:
    token = certificate.join_token.removeprefix(PREFIX)
    return cells.text(f"{certificate.requester} with token {token}" if token else certificate.requester)


COLUMNS: Sequence[Column[Certificate]] = (
    ("SERIAL", lambda certificate: certificate.serial),
    ("IDENTITY", lambda certificate: certificate.identity),
    ("STATE", _state),
    ("ISSUED", lambda certificate: cells.moment(certificate.issue_time)),
    ("EXPIRES", lambda certificate: cells.moment(certificate.expire_time)),
    ("REQUESTER", _requester),
    ("DNS NAMES", lambda certificate: " ".join(certificate.dns_names)),
)


@app.command("list")
@connected
def list_certificates(
    session: Session,
    identity: Annotated[
        str | None, typer.Option(help="Only of this identity, such as `checkout`, `node/*`; a segment may be `*`.")
    ] = None,
    join_token: Annotated[str | None, typer.Option(help="Only what was issued for this join token.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Only what counts: not expired, revoked or renewed.")] = False,
    namespace: Namespace = None,
) -> None:
    """List the certificates that were issued, by serial number, until some time after they expire."""
    from sira.identity.v1.authority_service_pb2 import ListCertificatesRequest

    request = ListCertificatesRequest(live_only=live)
    if identity is not None:
        (request.identity,) = spiffe_names.patterns(session, [identity], namespace, "--identity")
    if join_token is not None:
        request.join_token = PREFIX + join_token.removeprefix(PREFIX)
    session.printer.many(session.pages(session.authority.ListCertificates, request, "certificates"), COLUMNS)


@app.command("revoke")
@connected
def revoke(
    session: Session,
    target: Annotated[
        str,
        typer.Argument(metavar="SERIAL|IDENTITY", help="One certificate, or all that an identity was issued so far."),
    ],
    cause: Annotated[str, typer.Option(help="Why, for people.")] = "",
    namespace: Namespace = None,
) -> None:
    """Revoke certificates: they are refused, and calls made with them end, within a second.

    By identity, JWT-SVIDs too; a join token may bring the identity back.
    """
    from sira.identity.v1.authority_service_pb2 import RevokeCertificatesRequest

    request = RevokeCertificatesRequest(cause=cause)
    serial = target.lower().replace(":", "")
    if _SERIAL.fullmatch(serial):
        request.serial = serial
    else:
        request.identity = spiffe_names.identity(session, target, namespace, "SERIAL|IDENTITY")
    answer = session.call(session.authority.RevokeCertificates, request)
    if session.printer.format is not Format.TABLE:
        session.printer.one(answer, ())
    say(f"revoked {request.serial or request.identity}: {answer.revoked} live until now")
