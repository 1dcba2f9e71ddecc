"""The tree of commands, and the options before them."""

from __future__ import annotations

import typer

from sira_grpc.cli import (
    bus,
    cluster,
    context,
    endpoints,
    identity,
    join_tokens,
    leases,
    lock,
    namespaces,
    policy,
    services,
    tls,
)
from sira_grpc.cli.allow import SETTINGS, allow, deny
from sira_grpc.cli.bootstrap import bootstrap
from sira_grpc.cli.commands import Addr, ContextName, GlobalOptions, Output, Timeout
from sira_grpc.cli.dev import dev
from sira_grpc.cli.doctor import doctor
from sira_grpc.cli.drain import drain
from sira_grpc.cli.events import events
from sira_grpc.cli.lock import election
from sira_grpc.cli.register import register
from sira_grpc.cli.resolve import resolve
from sira_grpc.cli.sidecar import sidecar
from sira_grpc.cli.status import status
from sira_grpc.cli.up import up
from sira_grpc.cli.version import version
from sira_grpc.cli.watch import watch
from sira_grpc.cli.why import why

app = typer.Typer(
    name="sira",
    help="Sira, a gRPC service-mesh kernel: run one, and talk to one.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    ctx: typer.Context,
    addr: Addr = None,
    context: ContextName = None,
    output: Output = None,
    timeout: Timeout = None,
) -> None:
    """Keep the options before the command for the command."""
    ctx.obj = GlobalOptions(addr, context, output, timeout)


RUN, USE, LOOK, WHO = "Run a kernel", "Use the registry", "Look after the registry", "Identities and certificates"
SEND, AGREE, STEER = "Send messages", "Agree on who does what", "Steer traffic"
for function, panel in ((dev, RUN), (up, RUN), (status, RUN)):
    app.command(rich_help_panel=panel)(function)
app.add_typer(cluster.app, name="cluster", rich_help_panel=RUN)
for function in (register, resolve, watch):
    app.command(rich_help_panel=USE)(function)
for noun, module in (("namespaces", namespaces), ("services", services), ("endpoints", endpoints), ("leases", leases)):
    app.add_typer(module.app, name=noun, rich_help_panel=LOOK)
for function in (drain, events):
    app.command(rich_help_panel=LOOK)(function)
app.add_typer(policy.app, name="policy", rich_help_panel=STEER)
for function in (allow, deny):
    app.command(rich_help_panel=STEER, context_settings=SETTINGS)(function)
for function in (why, bootstrap, sidecar):
    app.command(rich_help_panel=STEER)(function)
app.add_typer(bus.app, name="bus", rich_help_panel=SEND)
for noun, group in (("lock", lock.app), ("election", election.app)):
    app.add_typer(group, name=noun, rich_help_panel=AGREE)
for noun, group in (("identity", identity.app), ("token", join_tokens.app), ("tls", tls.app)):
    app.add_typer(group, name=noun, rich_help_panel=WHO)
app.command(rich_help_panel=WHO)(doctor)
app.add_typer(context.app, name="context", rich_help_panel="This command")
app.command(rich_help_panel="This command")(version)
