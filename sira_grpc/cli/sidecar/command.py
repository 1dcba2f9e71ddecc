"""`sira sidecar`."""

from __future__ import annotations

import time

import typer

from sira_grpc.cli import pairs, place
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.identity.join import Token, TokenFile, explained
from sira_grpc.cli.session import Session
from sira_grpc.cli.sidecar import options as opts


@connected
def sidecar(
    session: Session,
    service: opts.Service,
    command: opts.Command = None,
    namespace: Namespace = None,
    inbound: opts.InboundPorts = None,
    egress: opts.Egress = 0,
    upstream: opts.Upstreams = None,
    member: opts.Members = None,
    drain: opts.Drain = "5s",
    identity: opts.Directory = None,
    join: opts.Join = None,
    token: Token = None,
    token_file: TokenFile = None,
    register: opts.Register = True,
    host: opts.Host = "",
    endpoint_id: opts.EndpointId = None,
    region: place.Region = "",
    zone: place.Zone = "",
    weight: opts.Weight = 0,
    version: opts.Version = "",
    metadata: pairs.Metadata = None,
    check: opts.Check = "tcp",
    check_interval: opts.CheckInterval = "5s",
    delta: opts.Delta = True,
    envoy: opts.Executable = None,
    admin: opts.Admin = 0,
    envoy_log: opts.Log = opts.EnvoyLog.WARNING,
    concurrency: opts.Concurrency = 2,
    wait: opts.Wait = "60s",
) -> None:
    """Run Envoy beside a service, until Ctrl-C, SIGTERM or the end of the program; then drain, and deregister it.

    Others reach the service at the inbound port: by mutual TLS and by its access policy, where it has one. The service
    reaches others at the egress port, by their names.
    """
    given = dict(locals())  # the parameters: nothing else is known yet
    del given["session"]
    started = time.monotonic()
    from sira_grpc.cli.sidecar.planning import plan_of
    from sira_grpc.cli.sidecar.serving import serve

    plan = plan_of(session, opts.Options(**given))
    with explained(session.context.addr):
        code = serve(plan, session.printer, started=started)
    raise typer.Exit(code)
