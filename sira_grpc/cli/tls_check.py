"""`sira tls check`: what a server shows, whether it can be verified, and whether it takes us."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sira_grpc.cli import cells, credentials
from sira_grpc.cli.commands import addressed
from sira_grpc.cli.credentials import Credentials
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.handshake import Shown, shake_hands
from sira_grpc.cli.output import Column
from sira_grpc.cli.session import Session

COLUMNS: Sequence[Column[Shown]] = (
    ("ADDRESS", lambda shown: cells.text(shown.address)),
    ("VERSION", lambda shown: f"{shown.version}, {shown.cipher}"),
    ("IDENTITY", lambda shown: shown.identity),
    ("NAMES", lambda shown: cells.text(" ".join(shown.names))),
    ("SERIAL", lambda shown: format(shown.leaf.serial_number, "x")),
    ("ISSUER", lambda shown: cells.text(shown.leaf.issuer.rfc4514_string())),
    ("EXPIRES", lambda shown: f"{shown.leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}, {cells.until(shown.expires)}"),
    ("VERIFIED", lambda shown: f"[red]no[/]: {cells.text(shown.doubt)}" if shown.doubt else "yes"),
    ("AS", lambda shown: shown.us),
    ("ACCEPTED", lambda shown: f"[red]no[/]: {cells.text(shown.refusal)}" if shown.refusal else "yes"),
)


@addressed
def check(
    session: Session,
    address: Annotated[str, typer.Argument(help="host:port of a server that speaks TLS.")],
    identity_dir: Annotated[
        Path | None, typer.Option(help="Identity directory to verify with, and to show. Default: what the context has.")
    ] = None,
) -> None:
    """Shake hands with a server, and show what it shows, whether it can be verified, and whether it takes us.

    Ends in exit code 5 if it cannot be verified, or does not take us.
    """
    if identity_dir is not None:
        ours = credentials.from_directory(identity_dir, now=time.time())
    else:
        ours = credentials.load(session.context) if session.context.secured else Credentials()
    shown = shake_hands(address, ours, within=session.timeout)
    session.printer.facts(shown, COLUMNS, _plain(shown))
    if shown.doubt or shown.refusal:
        what = "cannot be verified" if shown.doubt else "does not take us"
        raise Failure(f"{address} {what}: {shown.doubt or shown.refusal}", ExitCode.REFUSED)


def _plain(shown: Shown) -> dict[str, Any]:
    return {
        "address": shown.address,
        "version": shown.version,
        "cipher": shown.cipher,
        "identity": shown.identity,
        "names": shown.names,
        "serial": format(shown.leaf.serial_number, "x"),
        "issuer": shown.leaf.issuer.rfc4514_string(),
        "expireTime": f"{shown.leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "verified": not shown.doubt,
        "doubt": shown.doubt,
        "shownAs": shown.us,
        "accepted": not shown.refusal,
        "refusal": shown.refusal,
    }
