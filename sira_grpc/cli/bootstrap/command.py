"""The command that makes a bootstrap, from what it is told and what an identity directory says."""

from __future__ import annotations

import json
import os
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from sira_grpc.cli import names, place
from sira_grpc.cli.bootstrap import envoy
from sira_grpc.cli.bootstrap.client_kind import BootstrapKind, environment
from sira_grpc.cli.bootstrap.document import KernelTrust, NodeClaim, document
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Format, say
from sira_grpc.cli.session import Session

Kind = Annotated[BootstrapKind, typer.Option(help="What the client is built on: `c-core` is Python, C++, Ruby, PHP.")]
Identity = Annotated[
    Path | None,
    typer.Option(help="Identity directory of the service, which `sira identity agent` keeps: for mutual TLS."),
]
Servers = Annotated[
    list[str] | None,
    typer.Option("--server", metavar="ADDRESS", help="A kernel; repeatable, by preference. Default: the context's."),
]


@connected
def bootstrap(
    session: Session,
    kind: Kind = BootstrapKind.C_CORE,
    service: Annotated[str, typer.Option(help="Service that it runs for. Default: the identity's.")] = "",
    namespace: Namespace = None,
    identity: Identity = None,
    server: Servers = None,
    node_id: Annotated[str, typer.Option("--id", help="Id of the node. Default: the service and this host.")] = "",
    region: place.Region = "",
    zone: place.Zone = "",
    file: Annotated[Path | None, typer.Option(help="Write it here, instead of to stdout.")] = None,
    inbound: envoy.Inbound = None,
    egress: envoy.Egress = 0,
    upstream: envoy.Upstream = None,
    sds_socket: envoy.SdsSocket = "",
    admin: envoy.Admin = "",
    delta: envoy.Delta = True,
) -> None:
    """Print or write the bootstrap with which a gRPC client or server, or an Envoy, takes its configuration over xDS.

    With --file, the environment that the client needs is printed for a shell to evaluate; without, it goes to stderr.
    """
    servers = _servers(server or [session.context.addr])
    own = _service(identity, service and names.service_name(service, session.namespace(namespace)))
    claim = _claim(own, node_id, session.namespace(namespace), region, zone)
    options = envoy.EnvoyOptions(inbound or (), egress, upstream or (), sds_socket, admin, delta)
    if kind is BootstrapKind.ENVOY:
        made = envoy.envoy_document(session, servers, claim, options)
    elif options != envoy.EnvoyOptions():
        raise Failure("the options of an Envoy go with --kind envoy", ExitCode.USAGE)
    else:
        made = document(kind, servers, claim, _trust(session, identity, servers))
    _hand_out(session, kind, json.dumps(made, indent=2) + "\n", file)


def _claim(service: str, node_id: str, namespace: str, region: str, zone: str) -> NodeClaim:
    """Who the client says it is."""
    short, host = ".".join(reversed(service.split("/")[1::2])), socket.gethostname()
    return NodeClaim(
        id=node_id or (f"{short}@{host}" if short else host),
        service=short,
        namespace=service.split("/")[1] if service else namespace,
        region=region,
        zone=zone,
    )


def _hand_out(session: Session, kind: BootstrapKind, text: str, file: Path | None) -> None:
    """Prints or writes the document, and tells of the environment that goes with it."""
    if file is None:
        print(text, end="")
        for line in _exports(environment(kind, "FILE")):
            say(line)
        return
    _write(file, text)
    variables = environment(kind, str(file.absolute()))
    if session.printer.format is Format.TABLE:
        for line in _exports(variables):
            print(line)
    else:
        session.printer.data({"file": str(file.absolute()), "environment": variables})


def _servers(addresses: Sequence[str]) -> list[str]:
    from sira_grpc.config.address import check_address

    for address in addresses:
        check_address("--server", address)
        if address.endswith(":0"):
            raise Failure(f"--server: {address!r} has no port", ExitCode.USAGE)
    if len(set(addresses)) < len(addresses):
        raise Failure("--server: the same address is there twice", ExitCode.USAGE)
    return list(addresses)


def _service(identity: Path | None, told: str) -> str:
    """The resource name of the service that it runs for: a verified identity counts, whatever is told besides."""
    from sira_grpc.xds.names import service_named, short

    if told and (told.count("/") != 3 or service_named(short(told), "") != told):
        raise Failure(f"--service: {told!r} is no name of a service", ExitCode.USAGE)
    if identity is None:
        return told
    held = _held(identity)
    if held and told and held != told:
        raise Failure(f"--service: the identity in {identity} is of {held}, not of {told}", ExitCode.USAGE)
    return held or told


def _held(identity: Path) -> str:
    """The service that an identity directory is for; empty if it is for none, or there is nothing in it yet."""
    from sira_grpc.svid import identity_directory, x509_svid

    path = identity / identity_directory.SVID
    try:
        return x509_svid.identity_of(x509_svid.read_pem(path.read_bytes())[0]).service_name
    except FileNotFoundError:
        say(f"{path} is not there yet: `sira identity agent` or `sira identity issue` writes it")
        return ""
    except ValueError as error:
        raise Failure(f"--identity: {path}: {error}", ExitCode.USAGE) from error


def _trust(session: Session, identity: Path | None, servers: Sequence[str]) -> KernelTrust:
    from sira_grpc.config.address import is_local

    context = session.context
    if identity is not None:
        return KernelTrust(identity)
    if context.identity_dir or context.agent_socket:
        raise Failure(
            "--identity: the kernel asks for an identity, and the context's is not that of the service; name a "
            "directory that `sira identity agent` keeps for it, or that `sira identity issue` has made",
            ExitCode.USAGE,
        )
    plaintext = not context.secured and all(map(is_local, servers))
    return KernelTrust(
        ca_file=context.ca_file, cert_file=context.cert_file, key_file=context.key_file, plaintext=plaintext
    )


def _exports(variables: dict[str, str]) -> list[str]:
    return [f"export {key}={shlex.quote(value)}" for key, value in variables.items()]


def _write(path: Path, text: str) -> None:
    """Writes a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
