"""What a member shows to the others when it connects to them, and whom it takes for one."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import grpc

from sira_grpc.config import ServerConfig
from sira_grpc.errors import ConfigError
from sira_grpc.identity.callers import CallerVerifier
from sira_grpc.identity.member import Credentials
from sira_grpc.svid.spiffe_id import MEMBER, SpiffeId


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """The identity of this member, and how others are known.

    Attributes:
        trust_domain: of all members.
        credentials: returns the member's own credentials as they are.
        verifier: finds out who callers are.
    """

    trust_domain: str
    credentials: Callable[[], Credentials]
    verifier: CallerVerifier


@dataclass(frozen=True, slots=True)
class MemberTrust:
    """How members know each other.

    Attributes:
        secret: known to members only: they sign with it.
        server: how they serve, which all of them do alike.
        identity: of this one; None where they have none.
        ca_file: PEM of the authorities that verify their certificates; needed with server.tls, unused otherwise.
    """

    secret: bytes = field(repr=False)
    server: ServerConfig
    identity: PeerIdentity | None = None
    ca_file: str = ""


class PeerCredentials(Protocol):
    """What connections to other members are made with."""

    def current(self) -> grpc.ChannelCredentials | None:
        """Returns the credentials of a new connection: the same object until they change. None means plaintext."""

    @property
    def server_name(self) -> str:
        """The name that the certificate of every member carries; empty where it is its address."""


class Plaintext:
    """Implements PeerCredentials: for members that serve plaintext, on loopback and Unix sockets."""

    server_name = ""

    def current(self) -> None:
        """See PeerCredentials."""


class FixedTls:
    """Implements PeerCredentials: certificates from files, that the members' host names are verified by.

    Args:
        server: its TLS files are shown as the client's, where members want to see one.
        ca_file: PEM of the authorities that the other members' certificates are verified with.

    Raises:
        ConfigError: there is no ca_file, or a file cannot be used.
    """

    server_name = ""

    def __init__(self, server: ServerConfig, ca_file: str) -> None:
        key = "cluster.tls_ca_file"
        if not ca_file:
            raise ConfigError(
                f"{key}: is missing; members of a cluster that serve server.tls verify each other with it"
            )
        try:
            roots = Path(ca_file).read_bytes()
            ssl.create_default_context(cadata=roots.decode("ascii") or "empty")
        except OSError as error:
            raise ConfigError(f"{key}: cannot read {ca_file}: {error.strerror}") from error
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(f"{key}: {ca_file} is not a PEM file of certificates") from error
        shown: tuple[bytes | None, bytes | None] = (None, None)
        if server.tls.client_auth == "required":
            # The server has read both before, or has refused to start.
            shown = Path(server.tls.key_file).read_bytes(), Path(server.tls.cert_file).read_bytes()
        self._made = grpc.ssl_channel_credentials(roots, *shown)

    def current(self) -> grpc.ChannelCredentials:
        """See PeerCredentials."""
        return self._made


class MemberTls:
    """Implements PeerCredentials: shows the member's own certificate, and wants one of a member of the trust domain."""

    def __init__(self, identity: PeerIdentity) -> None:
        self._read = identity.credentials
        self._made: tuple[Credentials, grpc.ChannelCredentials] | None = None
        self.server_name = SpiffeId(identity.trust_domain, (MEMBER, "any")).dns_name

    def current(self) -> grpc.ChannelCredentials:
        """See PeerCredentials."""
        now = self._read()
        if self._made is None or self._made[0] is not now:
            self._made = (now, grpc.ssl_channel_credentials(now.roots, now.key, now.chain))
        return self._made[1]


def peer_credentials(trust: MemberTrust) -> PeerCredentials:
    """Returns what goes with how the members serve.

    Raises:
        ConfigError: they serve TLS from files, and nothing says whom to trust.
    """
    if trust.identity is not None:
        return MemberTls(trust.identity)
    return FixedTls(trust.server, trust.ca_file) if trust.server.tls.enabled else Plaintext()
