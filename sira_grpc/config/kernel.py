"""The whole configuration: one section for each subsystem, what spans sections, and the redacted dump."""

from __future__ import annotations

from typing import Any

import msgspec

from sira_grpc.config.address import is_local
from sira_grpc.config.authorization import Access, AuthorizationConfig
from sira_grpc.config.bus import BusConfig
from sira_grpc.config.cluster import ClusterConfig
from sira_grpc.config.identity import IdentityConfig
from sira_grpc.config.kinds import Secret, Section
from sira_grpc.config.limits import LimitsConfig
from sira_grpc.config.log import LogConfig
from sira_grpc.config.probes import ProbesConfig
from sira_grpc.config.registry import RegistryConfig
from sira_grpc.config.server import ServerConfig
from sira_grpc.config.store import StoreConfig
from sira_grpc.config.telemetry import TelemetryConfig
from sira_grpc.config.xds import XdsConfig
from sira_grpc.errors import ConfigError


class KernelConfig(Section, frozen=True):
    """Everything that a kernel can be told. Immutable."""

    server: ServerConfig = ServerConfig()
    limits: LimitsConfig = LimitsConfig()
    authorization: AuthorizationConfig = AuthorizationConfig()
    identity: IdentityConfig = IdentityConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    store: StoreConfig = StoreConfig()
    cluster: ClusterConfig = ClusterConfig()
    registry: RegistryConfig = RegistryConfig()
    bus: BusConfig = BusConfig()
    xds: XdsConfig = XdsConfig()
    probes: ProbesConfig = ProbesConfig()
    log: LogConfig = LogConfig()

    def __post_init__(self) -> None:
        """Checks what spans sections."""
        if self.identity.enabled and self.server.tls.enabled:
            raise ConfigError("server.tls.cert_file: must be empty with identity.enabled; the kernel makes its own")
        if self.identity.enabled and self.authorization.anonymous == "write":
            raise ConfigError("authorization.anonymous: must not be write with identity: everybody could issue any")
        if not self.identity.enabled and not self.server.tls.enabled:
            self.server.check_plaintext()

    @property
    def anonymous_access(self) -> Access:
        """What callers without identity may do: authorization.anonymous, with its default filled in."""
        if self.authorization.anonymous is not None:
            return self.authorization.anonymous
        if self.identity.enabled or self.server.tls.client_auth == "required":
            return "none"
        return "write" if all(is_local(address) for address in self.server.addresses) else "read"

    def dump(self) -> dict[str, Any]:
        """Returns every field as plain data, secrets as `***`. Loading it again gives the same, but for the secrets."""
        plain: dict[str, Any] = msgspec.to_builtins(self, enc_hook=_redact)
        return plain


def _redact(value: object) -> str:
    """The form of what is no plain data; msgspec asks for it."""
    if isinstance(value, Secret):
        return "***" if value.reveal() else ""
    raise NotImplementedError(f"no plain form of {type(value).__name__}")
