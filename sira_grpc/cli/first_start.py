"""What a kernel tells that has just founded its trust domain: who may do what from now on, and how others join."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sira_grpc.cli.output import say

if TYPE_CHECKING:
    from sira_grpc.identity.identity import Identity
    from sira_grpc.kernel import Kernel

JOIN_SECONDS = 3600.0
AGENT_DIRECTORY = "sira-agent"
"""Where `sira identity agent` keeps its own identity by default."""
_ALL_INTERFACES = ("0.0.0.0", "::")
_ELSEWHERE = ("192.0.2.1", 9)
"""An address for documentation, which nobody has: routes to it are those to the world."""


async def tell(kernel: Kernel, identity: Identity) -> None:
    """Prints it on stderr, with a join token that is made for it.

    Raises:
        StoreUnavailable: the token cannot be written.
    """
    operator = identity.operator.directory.absolute()
    secret = await _make_token(identity) if kernel.token_addresses else ""
    lines = [
        "",
        "This was the first start, and this kernel is its own certificate authority now:",
        "",
        f"  trust domain   {identity.trust.trust_domain}",
        f"  root SHA-256   {identity.root_fingerprint}",
        f"  operator       {identity.operator.identity}",
        f"                 in {operator}, renewed while the kernel runs",
        *_keeping(kernel),
        *_using(kernel, operator),
        *_joining(kernel, secret),
        "",
    ]
    say("\n".join(lines))


def reached_address(address: str, names: tuple[str, ...] = ()) -> str:
    """Returns an address that others can use, of one that the kernel listens at.

    Args:
        address: `host:port`; a host that stands for all interfaces is of no use to others.
        names: under which the kernel is reached, the best one first.
    """
    host, _, port = address.rpartition(":")
    if host.strip("[]") not in _ALL_INTERFACES:
        return address
    name = names[0] if names else _own_address()
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


async def _make_token(identity: Identity) -> str:
    from sira.identity.v1.join_token_pb2 import JoinToken

    asked = JoinToken(
        identities=[f"spiffe://{identity.trust.trust_domain}/node/*"], description="made at the first start"
    )
    _, secret = await identity.tokens.create(asked, ttl=JOIN_SECONDS, actor=str(identity.operator.identity))
    return str(secret)


def _keeping(kernel: Kernel) -> Iterator[str]:
    config = kernel.config
    if not config.identity.passphrase.reveal():
        from sira_grpc.identity.sealing import KEY_FILE

        key = Path(config.identity.dir).absolute() / KEY_FILE
        yield f"  keep a copy    of {key}:"
        place = "the store" if config.store.url else config.store.data_dir
        yield f"                 without it, the private keys in {place} cannot be opened"
        if config.store.url:
            yield "                 every other member on that store needs a copy too"


def _using(kernel: Kernel, operator: Path) -> Iterator[str]:
    address = next((each for each in kernel.addresses if not each.startswith("unix:")), None)
    if address is None:
        return
    host, _, port = address.rpartition(":")
    here = f"127.0.0.1:{port}" if host.strip("[]") in _ALL_INTERFACES else address
    yield from ("", "Be that operator, on this host:", "")
    yield f"  sira context set local --addr {here} --identity-dir {shlex.quote(str(operator))}"
    yield "  sira --context local identity status"


def _joining(kernel: Kernel, secret: str) -> Iterator[str]:
    if not secret:
        yield from ("", "Nobody can join with a token: server.token_addresses is empty.")
        return
    from sira_grpc.config.address import is_local

    address = reached_address(kernel.token_addresses[0], kernel.config.identity.names)
    yield from ("", "Have another host join, once and within 1 h, as node/HOSTNAME:", "")
    yield f"  sira identity join {address} --token {secret} --dir {AGENT_DIRECTORY}"
    yield ""
    if is_local(address):
        yield f"Only this host reaches {address}: for others, set server.addresses and server.token_addresses."
    yield "That token lets a host be itself. For the programs on it, make one that delegates their identities to it:"
    yield from ("", "  sira --context local token create --identity 'node/*' --delegate 'ns/default/svc/*'")


def _own_address() -> str:
    """The address from which this host's packets to the world leave; its name if there is no way to the world."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)  # of a datagram socket: picks the route, and sends nothing
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
