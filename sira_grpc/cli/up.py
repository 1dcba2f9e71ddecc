"""`sira up`: a kernel as its configuration says, or several of them with their store, for development."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from sira_grpc.cli.commands import printing
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Printer

MAX_MEMBERS = 16


@printing
def up(
    printer: Printer,
    config_file: Annotated[Path | None, typer.Option("--config", "-c", help="The configuration, a YAML file.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Print the configuration as it would be used, without secrets, and end.")
    ] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="For development: three NATS servers and several members, on loopback.")
    ] = False,
    members: Annotated[
        int | None, typer.Option(min=1, max=MAX_MEMBERS, help="With --cluster: how many members. Default: 2.")
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="With --cluster: folder to keep data in. Default: one that is deleted at the end."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="With --cluster: of the first member; 0: any. Default: 7400."),
    ] = None,
) -> None:
    """Run a kernel as its configuration says, until SIGTERM or Ctrl-C.

    SIRA_<SECTION>_<FIELD> variables go before the file. The kernel is its own certificate authority, and every caller
    has an identity, unless server.tls names certificates or identity.enabled is false. The first start says how others
    join.

    With --cluster it runs three NATS servers and several members on this machine, with that configuration but for their
    store, addresses and folders. Whatever of them is killed is started again after a second; all end with the command.
    """
    if cluster:
        if check:
            raise Failure("--check: goes without --cluster", ExitCode.USAGE)
        from sira_grpc.cli.dev_cluster.serving import serve_cluster

        serve_cluster(
            printer,
            members=2 if members is None else members,
            directory=directory,
            port=7400 if port is None else port,
            arguments=["--config", str(config_file.absolute())] if config_file else [],
            environment=os.environ,
        )
        return
    for option, given in (("--members", members), ("--dir", directory), ("--port", port)):
        if given is not None:
            raise Failure(f"{option}: goes with --cluster", ExitCode.USAGE)
    from sira_grpc.cli.serve import serve
    from sira_grpc.config import load

    started = time.monotonic()
    config = load(config_file, os.environ, identity=True)
    if check:
        printer.data(config.dump())
    else:
        serve(config, printer, started=started)
