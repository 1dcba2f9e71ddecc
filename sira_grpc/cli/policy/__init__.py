"""`sira policy`: what callers of a service do, and who may call it."""

from __future__ import annotations

import typer

from sira_grpc.cli.policy.commands import apply, clear, get, split

app = typer.Typer(help="Policies of services: what callers do, and who may call.", no_args_is_help=True)

for function in (get, apply, split, clear):
    app.command()(function)
