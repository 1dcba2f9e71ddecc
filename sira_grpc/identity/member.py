"""The member's credentials: what the kernel shows to those who connect to it, and whom it verifies them with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sira_grpc.identity.trust import Trust
from sira_grpc.svid import x509_svid
from sira_grpc.svid.spiffe_id import MEMBER, SpiffeId

MARGIN_SECONDS = 60.0
"""How long before its end a certificate that is not renewed any more is shown no more."""
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

    While a root is exchanged there are two certificates: that of the old root is shown until it is in no bundle any
    more, so that whoever was away while the new one was published can still connect, and learn of it.

    Attributes:
        current: read at each handshake, on threads of gRPC's.
    """

    def __init__(self, trust: Trust, shown: Callable[[], str]) -> None:
        """Has no certificate yet.

        Args:
            trust: whom callers are verified with.
            shown: returns the id of the authority whose certificate is to be shown.
        """
        self._trust = trust
        self._shown = shown
        self._held: dict[str, tuple[bytes, bytes]] = {}
        self._newest = ""
        self.current = Credentials(b"", b"", b"")

    async def install(self, chain: bytes, key: bytes, authority: str) -> None:
        """Takes in a certificate and its key, and the authority that issued it."""
        self._held[authority] = (chain, key)
        self._newest = authority
        self.refresh()

    def refresh(self) -> None:
        """Takes in the roots as they are, and shows the certificate that goes with them. Called now and then too."""
        roots = self._trust.roots()[self._trust.trust_domain]
        shown = self._shown()
        if shown not in self._held or self._expired(shown):
            shown = self._newest
        made = Credentials(*self._held[shown], x509_svid.to_pem(roots))
        if made != self.current:
            self.current = made
        self._held = {authority: held for authority, held in self._held.items() if authority in (shown, self._newest)}

    def read(self) -> Credentials:
        """Returns the credentials as they are. May be called from any thread."""
        return self.current

    def chain_and_key(self) -> tuple[bytes, bytes]:
        """Returns the certificate with its intermediates, and its key. May be called from any thread."""
        current = self.current
        return current.chain, current.key

    def _expired(self, authority: str) -> bool:
        """Whether what is held of an authority, and is not renewed any more, is nearly over."""
        leaf = x509_svid.read_pem(self._held[authority][0])[0]
        return authority != self._newest and leaf.not_valid_after_utc.timestamp() - MARGIN_SECONDS <= self._trust.now()


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
