"""`sira bus`: durable messages, from topics to dead letters."""

from __future__ import annotations

import typer

from sira_grpc.cli.bus import subscriptions, topics
from sira_grpc.cli.bus.publishing import pub

app = typer.Typer(help="The bus: durable messages, from topics to dead letters.", no_args_is_help=True)

app.add_typer(topics.app, name="topics")
app.add_typer(subscriptions.app, name="subs")
app.command()(pub)
