"""`sira token`: join tokens, which let whoever has the secret have an identity."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import cells, durations, spiffe_names
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.output import Column, Format, say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.identity.v1.join_token_pb2 import JoinToken

app = typer.Typer(help="Join tokens: what lets a program have an identity at first.", no_args_is_help=True)

PREFIX = "joinTokens/"


def _uses(token: JoinToken) -> str:
    return f"{token.uses} of {token.max_uses}"


def _state(token: JoinToken) -> str:
    if token.expire_time.ToDatetime(UTC) <= datetime.now(UTC):
        return "expired"
    return "used up" if token.uses >= token.max_uses else "[green]usable[/]"


COLUMNS: Sequence[Column[JoinToken]] = (
    ("NAME", lambda token: token.name.removeprefix(PREFIX)),
    ("STATE", _state),
    ("USES", _uses),
    ("EXPIRES", lambda token: cells.ahead(token.expire_time)),
    ("IDENTITIES", lambda token: " ".join(token.identities)),
    ("DELEGATED", lambda token: " ".join(token.delegated)),
    ("DNS NAMES", lambda token: " ".join(token.dns_names)),
    ("CREATOR", lambda token: cells.text(token.creator)),
    ("DESCRIPTION", lambda token: cells.text(token.description)),
)


@app.command("create")
@connected
def create_token(
    session: Session,
    identity: Annotated[
        list[str],
        typer.Option(
            help="Who its bearers may be: `checkout`, `node/web-1`, `node/*`; a segment may be `*`; repeatable."
        ),
    ],
    delegate: Annotated[
        list[str] | None,
        typer.Option(help="What a node may have issued for the programs on it, likewise; repeatable."),
    ] = None,
    dns_name: Annotated[
        list[str] | None,
        typer.Option(help="A DNS name that the certificates may hold too; `*.example.org` covers a label; repeatable."),
    ] = None,
    uses: Annotated[int, typer.Option(min=1, max=1_000_000, help="How often it may be used.")] = 1,
    ttl: Annotated[str, typer.Option(help="How long it may be used, 1m to 30d.")] = "1h",
    certificate_ttl: Annotated[
        str | None, typer.Option(help="Longest validity of the certificates. Default: what the kernel grants to all.")
    ] = None,
    description: Annotated[str, typer.Option(help="Free text for people.")] = "",
    namespace: Namespace = None,
) -> None:
    """Create a join token, and print its secret alone: nobody can show it again."""
    from sira.identity.v1.authority_service_pb2 import CreateJoinTokenRequest
    from sira.identity.v1.join_token_pb2 import JoinToken

    token = JoinToken(
        identities=spiffe_names.patterns(session, identity, namespace, "--identity"),
        delegated=spiffe_names.patterns(session, delegate or (), namespace, "--delegate"),
        dns_names=dns_name or (),
        max_uses=uses,
        description=description,
    )
    if certificate_ttl is not None:
        token.certificate_ttl.FromTimedelta(durations.parse(certificate_ttl, "--certificate-ttl"))
    request = CreateJoinTokenRequest(join_token=token)
    request.ttl.FromTimedelta(durations.parse(ttl, "--ttl"))
    answer = session.call(session.authority.CreateJoinToken, request)
    if session.printer.format is Format.TABLE:
        print(answer.secret)
        _tell(answer.join_token, ttl)
    else:
        session.printer.one(answer, ())


@app.command("list")
@connected
def list_tokens(session: Session) -> None:
    """List join tokens by name, without their secrets."""
    from sira.identity.v1.authority_service_pb2 import ListJoinTokensRequest

    found = session.pages(session.authority.ListJoinTokens, ListJoinTokensRequest(), "join_tokens")
    session.printer.many(found, COLUMNS)


@app.command("delete")
@connected
def delete_token(
    session: Session, name: Annotated[str, typer.Argument(help="Name of the token, as `sira token list` shows it.")]
) -> None:
    """Delete a join token: it is good for nothing any more. What was issued for it stays valid."""
    from sira.identity.v1.authority_service_pb2 import DeleteJoinTokenRequest

    full = name if name.startswith(PREFIX) else PREFIX + name
    session.call(session.authority.DeleteJoinToken, DeleteJoinTokenRequest(name=full))
    say(f"deleted {full}")


def _tell(made: JoinToken, ttl: str) -> None:
    times = "once" if made.max_uses == 1 else f"{made.max_uses} times"
    say(f"{made.name} is good for {' '.join(made.identities)}, {times} within {ttl}")
    say(f"delegates {' '.join(made.delegated)}" if made.delegated else "delegates nothing; --delegate does")
