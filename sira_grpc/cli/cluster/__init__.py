"""`sira cluster`: the members that share a store, and the store."""

from __future__ import annotations

import typer

from sira_grpc.cli.cluster.status import status
from sira_grpc.cli.cluster.watch import watch

app = typer.Typer(help="The cluster: its members, and the store that they share.", no_args_is_help=True)

for function in (status, watch):
    app.command()(function)
