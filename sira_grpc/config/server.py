"""The configuration of the listening side: addresses, TLS, keepalive, message size and drain."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from sira_grpc.config.address import check_address, is_local, is_unix
from sira_grpc.config.kinds import Seconds, SecondsOrOff, Section
from sira_grpc.errors import ConfigError


class TlsConfig(Section, frozen=True):
    """Certificates of the server, as PEM files."""

    cert_file: str = ""
    """Certificate chain, the server's own first. Default empty: no TLS."""
    key_file: str = ""
    """Private key of the certificate. Default empty; needed with cert_file."""
    client_ca_file: str = ""
    """Certificates of the authorities that client certificates are verified with. Default empty."""
    client_auth: Literal["none", "required"] = "none"
    """Whether clients must show a certificate that client_ca_file verifies. Default none.

    gRPC for Python knows no optional client certificate."""
    min_version: Literal["1.2", "1.3"] = "1.3"
    """The oldest version of TLS that is spoken, with identity too. Default 1.3."""

    @property
    def enabled(self) -> bool:
        """Whether the server speaks TLS."""
        return bool(self.cert_file)

    def __post_init__(self) -> None:
        """Checks what spans fields."""
        for field in ("cert_file", "key_file"):
            if (self.cert_file or self.key_file or self.client_ca_file) and not getattr(self, field):
                raise ConfigError(f"server.tls.{field}: is missing; cert_file and key_file go together")
        if self.client_auth == "required" and not self.client_ca_file:
            raise ConfigError("server.tls.client_ca_file: is missing; client_auth required verifies with it")
        if self.client_auth == "none" and self.client_ca_file:
            raise ConfigError("server.tls.client_auth: must be required with client_ca_file, which is unused otherwise")


class ServerConfig(Section, frozen=True):
    """Where and how the kernel listens."""

    addresses: Annotated[tuple[str, ...], Meta(min_length=1)] = ("127.0.0.1:7400",)
    """`host:port` or `unix:path`, each. Default 127.0.0.1:7400. Port 0 lets the system choose.

    Without TLS or identity only loopback and Unix sockets are accepted. A Unix socket is plaintext always."""
    token_addresses: tuple[str, ...] = ("127.0.0.1:7401",)
    """`host:port` each, where callers without a certificate are served over TLS: those that join with a token, and
    those that show a JWT-SVID. Used with identity only. Default 127.0.0.1:7401."""
    tls: TlsConfig = TlsConfig()
    """Default: no TLS."""
    keepalive_time: Seconds = 10
    """Silence on a connection after which the kernel pings it. Seconds, default 10.

    A client whose machine died is found after keepalive_time + keepalive_timeout."""
    keepalive_timeout: Seconds = 5
    """How long a ping may stay unanswered before the connection counts as lost. Seconds, default 5."""
    min_ping_interval: Seconds = 2
    """Shortest interval at which clients may ping, with or without calls. Seconds, default 2.

    One that pings faster is disconnected with `too_many_pings`."""
    max_connection_age: SecondsOrOff = 0
    """Age at which a connection is asked to go and come back, so that load spreads over members again.

    Seconds, default 0: never; with identity, at two fifths of identity.certificate_ttl, and then what is under way
    goes on. gRPC varies it by 10% at random."""
    max_connection_age_grace: Seconds = 30
    """How long the calls of an aged connection may still go on. Seconds, default 30."""
    drain_grace: SecondsOrOff = 10
    """How long unary calls may go on once the kernel stops. Seconds, default 10. Streams end at once."""
    max_message_bytes: Annotated[int, Meta(ge=1024, le=1 << 30)] = 4 << 20
    """Largest message that is received. Bytes, default 4 MiB; a larger one ends its call with RESOURCE_EXHAUSTED."""

    def __post_init__(self) -> None:
        """Checks what spans fields."""
        for index, address in enumerate(self.addresses):
            check_address(f"server.addresses[{index}]", address)
        for index, address in enumerate(self.token_addresses):
            key = f"server.token_addresses[{index}]"
            check_address(key, address)
            if is_unix(address):
                raise ConfigError(f"{key}: must be host:port; a Unix socket belongs to server.addresses")
        everywhere = [address for address in (*self.addresses, *self.token_addresses) if not address.endswith(":0")]
        if len(set(everywhere)) < len(everywhere) or len(set(self.addresses)) < len(self.addresses):
            raise ConfigError("server.addresses: must not name an address twice")

    def check_plaintext(self) -> None:
        """Refuses to be reached from other machines in plaintext.

        Raises:
            ConfigError: names the address.
        """
        for index, address in enumerate(self.addresses):
            if not is_local(address):
                raise ConfigError(
                    f"server.addresses[{index}]: {address!r} can be reached from other machines and needs identity or "
                    "server.tls; plaintext is accepted on loopback and Unix sockets only"
                )
