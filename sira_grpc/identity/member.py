"""The member's credentials: what the kernel shows to those who connect to it, and whom it verifies them with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sira_grpc.identity.trust import Trust
from sira_grpc.svid import x509_svid
from sira_grpc.svid.spiffe_id import MEMBER, SpiffeId

_HOST = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?")
_ALL_INTERFACES = ("0.0.0.0", "::", "")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a server needs to speak TLS, PEM.

    Attributes:
        chain: its certificate and the intermediates.
        key: its private key.
        roots: that callers are verified with.
    """

    chain: bytes
    key: bytes = field(repr=False)
    roots: bytes


class MemberCredentials:
    """The credentials as they are now.

    Attributes:
        current: read at each handshake, on threads of gRPC's.
        changed: called when they are others; must not block.
    """

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self.current = Credentials(b"", b"", b"")
        self.changed: list[Callable[[], None]] = []

    async def install(self, chain: bytes, key: bytes) -> None:
        """Takes in a certificate and its key."""
        self._become(Credentials(chain, key, self._roots()))

    def read(self) -> Credentials:
        """Returns the credentials as they are. May be called from any thread."""
        return self.current

    def chain_and_key(self) -> tuple[bytes, bytes]:
        """Returns the certificate with its intermediates, and its key. May be called from any thread."""
        current = self.current
        return current.chain, current.key

    def trust_changed(self) -> None:
        """Takes in the roots as they are."""
        self._become(Credentials(self.current.chain, self.current.key, self._roots()))

    def _roots(self) -> bytes:
        return x509_svid.to_pem(self._trust.roots()[self._trust.trust_domain])

    def _become(self, credentials: Credentials) -> None:
        if credentials != self.current:
            self.current = credentials
            for hook in self.changed:
                hook()


def reached_names(addresses: Iterable[str], host: str) -> list[str]:
    """Returns the names and IP addresses under which a member is reached: loopback, its host, and where it listens.

    Args:
        addresses: `host:port` or `unix:path`; one that stands for all interfaces says nothing.
        host: name of the machine.
    """
    names = ["localhost", "127.0.0.1", "::1", *([host] if _HOST.fullmatch(host) else [])]
    for address in addresses:
        listened = address.rpartition(":")[0].strip("[]")
        if not address.startswith("unix:") and listened not in _ALL_INTERFACES:
            names.append(listened)
    return list(dict.fromkeys(names))


def member_identity(trust_domain: str, host: str) -> SpiffeId:
    """Returns the identity of the member on a host: the same at every start."""
    return SpiffeId(trust_domain, (MEMBER, re.sub(r"[^A-Za-z0-9_-]", "-", host) or "local"))
