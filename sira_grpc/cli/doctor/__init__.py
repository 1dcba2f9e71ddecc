"""`sira doctor`: what is wrong, or will be soon, with certificates, keys and the files that they are in."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from sira_grpc.cli import cells, contexts
from sira_grpc.cli.commands import printing
from sira_grpc.cli.contexts import Context
from sira_grpc.cli.doctor import clocks, configuration, context_material
from sira_grpc.cli.doctor.findings import Finding, Severity, wrong
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Column, Format, Printer, say
from sira_grpc.cli.session import Session

SECONDS = 5.0
"""How long the kernel has to answer."""
_STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}

COLUMNS: Sequence[Column[Finding]] = (
    ("SEVERITY", lambda finding: f"[{_STYLES[finding.severity]}]{finding.severity}[/]"),
    ("WHERE", lambda finding: cells.text(finding.subject)),
    ("FINDING", lambda finding: cells.text(finding.finding)),
    ("WHAT TO DO", lambda finding: cells.text(finding.remedy)),
)


@printing
def doctor(
    printer: Printer,
    directory: Annotated[
        list[Path] | None, typer.Argument(metavar="DIR", help="Identity directories, besides those of contexts.")
    ] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config", "-c", help="Configuration of a kernel whose files are looked at too.")
    ] = None,
) -> None:
    """Find what is wrong with certificates and keys: of contexts, identity directories, and a kernel's configuration.

    Ends in exit code 1 if there is more than notes.
    """
    found = list(_findings(printer, directory or [], config_file))
    if printer.format is not Format.TABLE:
        keys = ("severity", "subject", "finding", "remedy")
        printer.data([{key: str(getattr(finding, key)) for key in keys} for finding in found])
    elif found:
        printer.rows(found, COLUMNS)
    bad = wrong(found)
    if bad:
        errors = sum(finding.severity is Severity.ERROR for finding in bad)
        raise Failure(f"something is wrong: {errors} errors, {len(bad) - errors} warnings", ExitCode.ERROR)
    say("nothing is wrong")


def _findings(printer: Printer, more: list[Path], config_file: Path | None) -> Iterator[Finding]:
    now = time.time()
    known, trouble = context_material.found(os.environ)
    yield from trouble
    if config_file is not None:
        yield from configuration.inspect(config_file, os.environ, now)
    for name, context in known.items():
        yield from context_material.inspect(name, context, now)
    yield from context_material.inspect_directories(known, more, now)
    chosen = None if trouble else _chosen()
    if chosen is not None:
        with Session(chosen, printer, SECONDS) as session:
            yield from clocks.inspect(session)


def _chosen() -> Context | None:
    """The context that commands talk to, if it has an identity; None otherwise."""
    try:
        context = contexts.choose(None, None, os.environ)
    except Failure:
        return None  # it has been found wrong already, or is not there
    return context if context.identity_dir or context.agent_socket or context.cert_file else None
