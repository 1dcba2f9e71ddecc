"""`sira up`: a kernel as its configuration says."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from sira_grpc.cli.commands import printing
from sira_grpc.cli.output import Printer


@printing
def up(
    printer: Printer,
    config_file: Annotated[Path | None, typer.Option("--config", "-c", help="The configuration, a YAML file.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Print the configuration as it would be used, without secrets, and end.")
    ] = False,
) -> None:
    """Run a kernel as its configuration says, until SIGTERM or Ctrl-C.

    SIRA_<SECTION>_<FIELD> variables go before the file. The kernel is its own certificate authority, and every caller
    has an identity, unless server.tls names certificates or identity.enabled is false. The first start says how others
    join.
    """
    from sira_grpc.cli.serve import serve
    from sira_grpc.config import load

    started = time.monotonic()
    config = load(config_file, os.environ, identity=True)
    if check:
        printer.data(config.dump())
    else:
        serve(config, printer, started=started)
