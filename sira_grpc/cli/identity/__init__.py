"""`sira identity`: who is who, and who vouches for it."""

from __future__ import annotations

import typer

from sira_grpc.cli.identity import federation
from sira_grpc.cli.identity.agent import agent
from sira_grpc.cli.identity.bundle import bundle
from sira_grpc.cli.identity.directory import show
from sira_grpc.cli.identity.issue import issue
from sira_grpc.cli.identity.join import join
from sira_grpc.cli.identity.jwt import jwt
from sira_grpc.cli.identity.rotation import advance, cancel, rotate
from sira_grpc.cli.identity.status import status

app = typer.Typer(help="Identities: who is who, and who vouches for it.", no_args_is_help=True)

for function in (status, join, agent, show, issue, jwt, bundle, rotate, advance, cancel):
    app.command()(function)
app.add_typer(federation.app, name="federation")
