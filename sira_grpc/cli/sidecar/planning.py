"""From what was typed to what a sidecar does."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from typing import Any

from sira_client.names import derived_id

from sira_grpc.agent import Joining
from sira_grpc.cli import client, durations, health_check, names, pairs, place
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.identity.join import read_secret
from sira_grpc.cli.session import Session
from sira_grpc.cli.sidecar import envoy_executable, kernel_access, ports
from sira_grpc.cli.sidecar.envoy_process import EnvoyOptions
from sira_grpc.cli.sidecar.kernel_access import KernelAccess
from sira_grpc.cli.sidecar.local_health import LocalHealth
from sira_grpc.cli.sidecar.options import Options
from sira_grpc.cli.sidecar.plan import Plan
from sira_grpc.xds.names import service_named


def plan_of(session: Session, options: Options) -> Plan:
    """Returns the plan. Installs Envoy, if there is none.

    Raises:
        Failure: an option makes no sense, or there is no Envoy.
    """
    namespace = session.namespace(options.namespace)
    service = _service("--service", options.service, namespace)
    inbound = ports.parse(options.inbound or (), options.egress)
    if not inbound and not options.egress:
        raise Failure("--inbound, --egress: one of them is needed", ExitCode.USAGE)
    own_id = options.endpoint_id or derived_id(socket.gethostname(), str(os.getpid()), secrets.token_hex(4))
    drain = durations.parse(options.drain, "--drain").total_seconds()
    health = _health(options, inbound[0].target_port) if options.register and inbound else None
    endpoint = _endpoint(session, options, drain)
    return Plan(
        service=service,
        endpoint_id=own_id,
        access=_access(session, options, service),
        inbound=inbound,
        egress_port=options.egress,
        upstreams=[_service("--upstream", text, namespace) for text in options.upstream or ()],
        region=options.region,
        zone=options.zone,
        admin=f"127.0.0.1:{options.admin}" if options.admin else "",
        delta=options.delta,
        endpoint=(
            {**endpoint, "service": service, "endpoint_id": own_id, "port": inbound[0].port, "health_check": health.ttl}
            if health is not None
            else None
        ),
        health=health,
        drain=drain,
        patience=durations.parse(options.wait, "--wait").total_seconds(),
        command=_command(options.command or []),
        envoy=EnvoyOptions(
            envoy_executable.find(options.envoy, os.environ), options.envoy_log.value, options.concurrency, drain
        ),
    )


def _endpoint(session: Session, options: Options, drain: float) -> dict[str, Any]:
    return {
        "address": options.host or None,
        "locality": place.locality(options.region, options.zone),
        "weight": options.weight,
        "version": options.version,
        "metadata": pairs.parse(options.metadata),
        "timeout": session.timeout,
        "drain_timeout": drain,
    }


def _health(options: Options, port: int) -> LocalHealth:
    check: Any = health_check.parse(options.check, None)
    interval = durations.parse(options.check_interval, "--check-interval").total_seconds()
    if not 0.1 <= interval <= 3600:
        raise Failure("--check-interval: must be 100ms to 1h", ExitCode.USAGE)
    return LocalHealth(check, port, interval)


def _access(session: Session, options: Options, service: str) -> KernelAccess:
    keep = options.join is not None
    if not keep and (options.token is not None or options.token_file is not None):
        raise Failure("--join: is missing; a token is for joining", ExitCode.USAGE)
    return kernel_access.choose(
        session.context,
        options.member or (),
        service,
        directory=options.identity,
        joining=_joining(options, service) if keep else None,
        keep=keep,
    )


def _command(given: list[str]) -> list[str]:
    if given and shutil.which(given[0]) is None:
        raise Failure(f"COMMAND: {given[0]} is no program that can be run", ExitCode.USAGE)
    return given


def _joining(options: Options, service: str) -> Joining | None:
    """By what right it joins. Without a secret, as at a later start, what is in the directory must do."""
    secret = read_secret(options.token, options.token_file, os.environ)
    _, namespace, _, name = service.split("/")
    return Joining(options.join or "", secret, f"ns/{namespace}/svc/{name}") if secret is not None else None


def _service(option: str, text: str, namespace: str) -> str:
    """The resource name of `pay`, `pay.shop` or a resource name.

    Raises:
        Failure: it is none of these.
    """
    name = client.accepted(_checked, option, text) if text.startswith(names.FULL) else service_named(text, namespace)
    if not name:
        raise Failure(f"{option}: {text!r} must be like pay, pay.shop or namespaces/shop/services/pay", ExitCode.USAGE)
    return name


def _checked(option: str, text: str) -> str:
    from sira_client.names import service_name

    try:
        return service_name(text)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error
