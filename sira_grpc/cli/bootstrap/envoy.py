"""The bootstrap of an Envoy that somebody else runs: the same that `sira sidecar` starts its own with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sira_grpc.cli import names
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

if TYPE_CHECKING:
    from sira_grpc.cli.bootstrap.document import NodeClaim
    from sira_grpc.cli.session import Session

PANEL = "Envoy"
Inbound = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PORT:TARGET",
        help="Where Envoy takes calls to the service, and where the service does on loopback; repeatable.",
        rich_help_panel=PANEL,
    ),
]
Egress = Annotated[
    int,
    typer.Option(
        min=0,
        max=65_535,
        help="Loopback port where Envoy takes calls to other services; 0: none.",
        rich_help_panel=PANEL,
    ),
]
Upstream = Annotated[
    list[str] | None, typer.Option(help="A service that is called; repeatable. Default: all.", rich_help_panel=PANEL)
]
SdsSocket = Annotated[
    str,
    typer.Option(
        metavar="PATH", help="Unix socket of the agent, where Envoy has its certificates from.", rich_help_panel=PANEL
    ),
]
Admin = Annotated[
    str,
    typer.Option(metavar="ADDRESS", help="Where its administration is; empty: nowhere.", rich_help_panel=PANEL),
]
Delta = Annotated[
    bool,
    typer.Option("--delta/--sotw", help="Told of changes, or of the state of the world.", rich_help_panel=PANEL),
]


@dataclass(frozen=True, slots=True)
class EnvoyOptions:
    """What was typed of an Envoy; see the options."""

    inbound: Sequence[str] = ()
    egress: int = 0
    upstream: Sequence[str] = ()
    sds_socket: str = ""
    admin: str = ""
    delta: bool = True


def envoy_document(session: Session, servers: Sequence[str], node: NodeClaim, options: EnvoyOptions) -> dict[str, Any]:
    """Returns the bootstrap of an Envoy, in the JSON mapping.

    Args:
        session: is asked for the trust domain, where there are certificates.
        servers: `host:port` or `unix:path` of the kernels.
        node: who it is.
        options: what it does.

    Raises:
        Failure: an option makes no sense, or the kernel that knows the trust domain is not there.
    """
    from sira_grpc.cli.sidecar import ports
    from sira_grpc.cli.sidecar.envoy_config import BootstrapTerms, envoy_bootstrap
    from sira_grpc.config.address import check_address, is_local

    if not options.sds_socket and not all(map(is_local, servers)):
        raise Failure(
            "--kind envoy: has its certificates from the agent of its host, --sds-socket PATH; without, it may be on "
            "the host of the kernel only",
            ExitCode.USAGE,
        )
    if options.admin:
        check_address("--admin", options.admin)
    service = names.service_name(*node.service.split(".")) if node.service else ""
    try:
        return envoy_bootstrap(
            BootstrapTerms(
                service=service,
                node_id=node.id,
                kernel=servers,
                admin=options.admin,
                inbound=ports.parse(options.inbound, options.egress),
                egress_port=options.egress,
                upstreams=[names.service_name(each, node.namespace) for each in options.upstream],
                namespace=node.namespace,
                region=node.region,
                zone=node.zone,
                trust_domain=session.trust_domain if options.sds_socket else "",
                sds_socket=options.sds_socket,
                delta=options.delta,
            )
        )
    except ValueError as error:
        raise Failure(f"--kind envoy: {error}", ExitCode.USAGE) from error
