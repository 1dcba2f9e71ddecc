"""`sira bus`: durable messages, from topics to dead letters."""

from __future__ import annotations

import typer

from sira_grpc.cli.bus import dead_letters, subscriptions, topics
from sira_grpc.cli.bus.bench import bench
from sira_grpc.cli.bus.consuming import sub
from sira_grpc.cli.bus.lag import lag
from sira_grpc.cli.bus.publishing import pub
from sira_grpc.cli.bus.redriving import redrive
from sira_grpc.cli.bus.replaying import replay
from sira_grpc.cli.bus.tailing import tail
from sira_grpc.cli.bus.verifying import verify

app = typer.Typer(help="The bus: durable messages, from topics to dead letters.", no_args_is_help=True)

for noun, group in (("topics", topics.app), ("subs", subscriptions.app), ("dlq", dead_letters.app)):
    app.add_typer(group, name=noun)
for function in (pub, sub, tail, replay, lag, redrive, verify, bench):
    app.command()(function)
