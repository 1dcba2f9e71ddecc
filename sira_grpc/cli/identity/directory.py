"""`sira identity show`: what an identity directory holds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sira_grpc.cli import cells
from sira_grpc.cli.commands import addressed
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Column, Printer
from sira_grpc.cli.session import Session


@dataclass(frozen=True, slots=True)
class Held:
    """What an identity directory holds.

    Attributes:
        directory: where it is.
        identity: the SPIFFE ID.
        dns_names: in the certificate.
        serial: of the certificate.
        issuer: who signed it.
        not_before, not_after: when it is valid, in Unix seconds.
        trouble: why it does not count; empty if it does.
    """

    directory: Path
    identity: str
    dns_names: tuple[str, ...]
    serial: str
    issuer: str
    not_before: float
    not_after: float
    trouble: str


COLUMNS: Sequence[Column[Held]] = (
    ("DIRECTORY", lambda held: cells.text(str(held.directory))),
    ("IDENTITY", lambda held: held.identity),
    ("DNS NAMES", lambda held: " ".join(held.dns_names)),
    ("SERIAL", lambda held: held.serial),
    ("ISSUER", lambda held: cells.text(held.issuer)),
    ("EXPIRES", lambda held: f"{_moment(held.not_after)}, {cells.until(held.not_after)}"),
    ("VERIFIED", lambda held: f"[red]no[/]: {cells.text(held.trouble)}" if held.trouble else "by bundle.pem"),
)


@addressed
def show(
    session: Session,
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="The identity directory. Default: the context's.")
    ] = None,
) -> None:
    """Show what an identity directory holds, and whether its bundle vouches for it. Asks no kernel."""
    if directory is None and not session.context.identity_dir:
        raise Failure("DIR: name an identity directory; the context has none", ExitCode.USAGE)
    tell(session.printer, directory or Path(session.context.identity_dir))


def tell(printer: Printer, directory: Path) -> None:
    """Prints what an identity directory holds.

    Raises:
        Failure: it cannot be read, or holds no certificate.
    """
    held = look(directory, now=time.time())
    printer.facts(held, COLUMNS, _plain(held))


def look(directory: Path, *, now: float) -> Held:
    """Reads an identity directory.

    Args:
        directory: where it is.
        now: Unix seconds.

    Raises:
        Failure: it cannot be read, or holds no certificate.
    """
    from cryptography import x509

    from sira_grpc.agent import keyed_svid
    from sira_grpc.svid import identity_directory, x509_svid

    try:
        files = identity_directory.read(directory)
    except OSError as error:
        raise Failure(f"{directory}: is no identity directory: {error}", ExitCode.NOT_FOUND) from error
    try:
        leaf = x509_svid.read_pem(files.svid)[0]
        identity = x509_svid.identity_of(leaf)
    except ValueError as error:
        raise Failure(f"{directory / identity_directory.SVID}: {error}") from error
    trouble = ""
    try:
        keyed_svid.from_files(files, now=now)
    except ValueError as error:
        trouble = str(error)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return Held(
        directory,
        str(identity),
        tuple(names.get_values_for_type(x509.DNSName)),
        x509_svid.serial_of(leaf),
        leaf.issuer.rfc4514_string(),
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
        trouble,
    )


def _plain(held: Held) -> dict[str, Any]:
    return {
        "directory": str(held.directory),
        "identity": held.identity,
        "dnsNames": list(held.dns_names),
        "serial": held.serial,
        "issuer": held.issuer,
        "notBefore": _moment(held.not_before),
        "expireTime": _moment(held.not_after),
        "verified": not held.trouble,
        "trouble": held.trouble,
    }


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
