"""`sira lock`: locks and semaphores."""

from __future__ import annotations

import typer

from sira_grpc.cli.lock.looking import get_lock, list_locks
from sira_grpc.cli.lock.releasing import release
from sira_grpc.cli.lock.running import run

app = typer.Typer(help="Locks and semaphores: run a command under one, and look at them.", no_args_is_help=True)

for name, function in (("run", run), ("list", list_locks), ("get", get_lock), ("release", release)):
    app.command(name)(function)
