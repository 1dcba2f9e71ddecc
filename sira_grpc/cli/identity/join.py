"""`sira identity join`: from a join token to an identity directory."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import durations, spiffe_names
from sira_grpc.cli.commands import Namespace, addressed
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure, explain_rpc
from sira_grpc.cli.identity import directory as identity_directories
from sira_grpc.cli.identity.issue import Directory, DnsNames, Ttl
from sira_grpc.cli.output import say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira_grpc.svid.join_secret import JoinSecret

VARIABLE = "SIRA_JOIN_TOKEN"
Token = Annotated[
    str | None, typer.Option(help=f"The join token. Others may see it in the list of processes. [{VARIABLE}]")
]
TokenFile = Annotated[Path | None, typer.Option(help="File with the join token instead; `-` for stdin.")]
Name = Annotated[
    str | None,
    typer.Option(help="Who to be: `node/web-1`, `checkout`, `ns/shop/svc/checkout`. Default: `node/` and this host."),
]


@addressed
def join(
    session: Session,
    address: Annotated[str, typer.Argument(help="host:port where the kernel takes join tokens, such as h:7401.")],
    directory: Directory,
    token: Token = None,
    token_file: TokenFile = None,
    name: Name = None,
    dns_name: DnsNames = None,
    ttl: Ttl = None,
    namespace: Namespace = None,
) -> None:
    """Join with a token, and write the identity into a directory. The token is all that need be known of the kernel.

    It is not renewed: `sira identity agent --dir` takes it up and keeps it.
    """
    from sira_grpc.agent import Joining
    from sira_grpc.agent import join as join_kernel

    secret = read_secret(token, token_file, os.environ)
    if secret is None:
        raise Failure(f"--token: is missing; or give --token-file, or {VARIABLE}", ExitCode.USAGE)
    wanted = spiffe_names.path(name or spiffe_names.own_node(), session.namespace(namespace))
    valid = None if ttl is None else durations.parse(ttl, "--ttl").total_seconds()
    joining = Joining(address, secret, wanted, dns_name or (), valid)
    with explained(address):
        asyncio.run(join_kernel(joining, directory, within=session.timeout))
    identity_directories.tell(session.printer, directory)
    say(f"nobody renews it yet: sira identity agent --config FILE --dir {shlex.quote(str(directory))}")


def read_secret(token: str | None, file: Path | None, environment: Mapping[str, str]) -> JoinSecret | None:
    """Returns the join secret that was given, in this order; None if there is none.

    Raises:
        Failure: it is malformed, or two are given. Does not repeat it.
    """
    from sira_grpc.svid.join_secret import JoinSecret

    if token is not None and file is not None:
        raise Failure("--token and --token-file exclude each other", ExitCode.USAGE)
    source, text = "--token", token
    if file is not None:
        source, text = f"--token-file: {file}", _read(file)
    elif token is None:
        source, text = VARIABLE, environment.get(VARIABLE) or None
    if text is None:
        return None
    try:
        return JoinSecret.parse(text)
    except ValueError as error:
        raise Failure(f"{source}: {error}", ExitCode.USAGE) from error


@contextmanager
def explained(address: str) -> Iterator[None]:
    """Gives the failures of joining their exit codes."""
    import grpc

    from sira_grpc.agent import IdentityLost, KernelNotTrusted, KernelUnreachable

    try:
        yield
    except KernelUnreachable as error:
        raise Failure(str(error), ExitCode.UNAVAILABLE) from error
    except (KernelNotTrusted, IdentityLost) as error:
        raise Failure(str(error), ExitCode.REFUSED) from error
    except grpc.RpcError as error:
        raise explain_rpc(error, address) from error


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise Failure(f"--token-file: {error}", ExitCode.USAGE) from error
