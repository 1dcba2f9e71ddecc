"""`sira dev`: a kernel for development, on loopback without TLS."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from sira_grpc.cli.commands import printing
from sira_grpc.cli.output import Printer


@printing
def dev(
    printer: Printer,
    listen: Annotated[
        list[str] | None,
        typer.Option(help="host:port on loopback, or unix:path; repeatable. Port 0: any. Default: 127.0.0.1:7400."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder to keep data in. Default: one that is deleted at the end.")
    ] = None,
) -> None:
    """Run a kernel for development, until Ctrl-C.

    It listens on loopback, without TLS, and prints one ready line on stdout. SIRA_* variables configure the rest;
    SIRA_IDENTITY_ENABLED=true has it be a certificate authority as `sira up` is.
    """
    import os

    from msgspec.structs import replace

    from sira_grpc.cli.serve import serve
    from sira_grpc.config import IdentityConfig, TlsConfig, load

    started = time.monotonic()
    config = load(None, os.environ)
    with ExitStack() as stack:
        folder = str(data_dir) if data_dir else stack.enter_context(tempfile.TemporaryDirectory(prefix="sira-dev-"))
        server = replace(config.server, addresses=tuple(listen or config.server.addresses), tls=TlsConfig())
        identity = config.identity
        if data_dir is None and identity.dir == IdentityConfig().dir:
            identity = replace(identity, dir=f"{folder}/identity")  # of no use without the data
        store = replace(config.store, data_dir=folder)
        serve(replace(config, server=server, identity=identity, store=store), printer, started=started)
