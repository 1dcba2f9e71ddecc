"""`sira context`: named kernels, and which of them commands talk to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from sira_grpc.cli.commands import printing
from sira_grpc.cli.contexts import Context, ContextFile, file_path
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Column, Format, Printer, say

app = typer.Typer(help="Contexts: named kernels, and which of them commands talk to.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the context.")]
Row = tuple[str, Context, bool]

COLUMNS: Sequence[Column[Row]] = (
    ("CURRENT", lambda row: "*" if row[2] else ""),
    ("NAME", lambda row: row[0]),
    ("ADDR", lambda row: row[1].addr),
    ("NAMESPACE", lambda row: row[1].namespace),
    ("TRANSPORT", lambda row: row[1].transport),
)


@app.command("list")
@printing
def list_contexts(printer: Printer) -> None:
    """List contexts by name."""
    file = ContextFile.load(file_path(os.environ))
    rows = [(name, context, name == file.current) for name, context in sorted(file.contexts.items())]
    if printer.format is Format.TABLE:
        printer.rows(rows, COLUMNS)
    else:
        printer.data([{"name": name, "current": current, **asdict(context)} for name, context, current in rows])


@app.command("use")
@printing
def use_context(printer: Printer, name: Name) -> None:
    """Make a context the current one."""
    path = file_path(os.environ)
    ContextFile.load(path).use(name).save(path)
    say(f"current context: {name}")


@app.command("set")
@printing
def set_context(
    printer: Printer,
    name: Name,
    addr: Annotated[str | None, typer.Option(help="host:port or unix:path of the kernel.")] = None,
    ca_file: Annotated[str | None, typer.Option(help="PEM file of the authorities to verify the server with.")] = None,
    cert_file: Annotated[str | None, typer.Option(help="PEM file of the client's certificate chain.")] = None,
    key_file: Annotated[str | None, typer.Option(help="PEM file of the client's private key.")] = None,
    identity_dir: Annotated[
        str | None, typer.Option(help="Identity directory, for mutual TLS; goes without the files.")
    ] = None,
    agent_socket: Annotated[
        str | None, typer.Option(help="Unix socket of an agent to have an identity from instead.")
    ] = None,
    jwt_file: Annotated[
        str | None, typer.Option(help="File with a JWT-SVID, for an address where no certificate is asked for.")
    ] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="The namespace of short names.")] = None,
) -> None:
    """Add a context, or change what is given of one. The first one becomes the current one. An empty text takes out."""
    path = file_path(os.environ)
    file = ContextFile.load(path)
    given = {
        "addr": addr,
        "ca_file": ca_file,
        "cert_file": cert_file,
        "key_file": key_file,
        # `join` and `issue` write where they are told to, often below the folder that one is in.
        "identity_dir": identity_dir and str(Path(identity_dir).absolute()),
        "agent_socket": agent_socket,
        "jwt_file": jwt_file,
        "namespace": namespace,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    if name not in file.contexts and addr is None:
        raise Failure(f"context {name!r} is new and needs --addr", ExitCode.USAGE)
    context = replace(file.contexts.get(name, Context()), **changes)
    problem = context.check()
    if problem:
        raise Failure(problem, ExitCode.USAGE)
    file.put(name, context).save(path)
    say(f"context {name} is in {path}")


@app.command("delete")
@printing
def delete_context(printer: Printer, name: Name) -> None:
    """Delete a context."""
    path = file_path(os.environ)
    ContextFile.load(path).remove(name).save(path)
    say(f"deleted context {name}")
