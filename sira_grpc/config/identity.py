"""The configuration of identity: the trust domain, its certificate authority, and how long things are valid."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from msgspec import Meta

from sira_grpc.config.address import check_address, is_unix
from sira_grpc.config.kinds import Seconds, SecondsOrOff, Secret, Section
from sira_grpc.errors import ConfigError

MIN_TTL = 60
"""Shortest validity of a certificate, in seconds: shorter ones would be renewed all the time."""
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_LABEL = r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
CertificateTtl = Annotated[float, Meta(ge=MIN_TTL, le=86_400 * 30)]
"""Validity of a certificate in seconds, 1 minute to 30 days."""


class IdentityConfig(Section, frozen=True):
    """Whether callers have identities, and how the kernel vouches for them."""

    enabled: bool | None = None
    """The kernel is a certificate authority, and every caller shows a certificate or token of it.

    Default: on for `sira up`, unless server.tls names certificates; off for `sira dev`."""
    trust_domain: str = "sira.internal"
    """Name that all identities begin with, `spiffe://sira.internal/...`. Fixed at the first
    start. Default sira.internal."""
    dir: str = "sira-identity"
    """Folder of the key that private keys are encrypted with, and of the first operator's identity, created if missing.

    Relative to the working folder. Keep it apart from backups of store.data_dir: what is in those is of no use without
    it. Default sira-identity."""
    passphrase: Secret = Secret("")
    """Passphrase that private keys are encrypted with, instead of a key file in dir. Secret, at least 12 characters.
    Default empty: a key file."""
    names: tuple[str, ...] = ()
    """DNS names and IP addresses under which this kernel is reached, besides those of server.addresses, of the host and
    of loopback: they are in its certificate. Default none."""
    upstream_cert_file: str = ""
    """PEM file of an intermediate certificate by an external authority, those above it after it. Default empty: the
    kernel makes a root of its own. Naming another one begins a rotation at the next start."""
    upstream_key_file: str = ""
    """PEM file of the private key of upstream_cert_file."""
    upstream_bundle_file: str = ""
    """PEM file of the root certificate that upstream_cert_file leads to."""
    certificate_ttl: CertificateTtl = 3600
    """Validity of a certificate whose request names none. Seconds, default 3,600. Renewed at half of it."""
    max_certificate_ttl: CertificateTtl = 86_400
    """Longest validity of a certificate. Seconds, default 86,400."""
    intermediate_ttl: Seconds = 86_400 * 30
    """Validity of the intermediate that issues. Seconds, default 30 days. Replaced at half of it."""
    root_ttl: Annotated[float, Meta(gt=0, le=86_400 * 365 * 30)] = 86_400 * 365 * 5
    """Validity of a root. Seconds, default 5 years. A rotation begins by itself at five sixths of it."""
    clock_skew: SecondsOrOff = 300
    """By how much the clocks of others may be behind: certificates are valid that much earlier. Seconds,
    default 300."""
    rotation_min_stage: SecondsOrOff = 300
    """How long a stage of a rotation lasts at least, so that those who cannot watch have looked.
    Seconds, default 300."""
    record_retention: SecondsOrOff = 3600
    """How long the record of a certificate is kept after it expired. Seconds, default 3,600."""
    bundle_address: str = ""
    """`host:port` of the HTTPS server that other trust domains fetch the trust bundle from. Default empty: off."""
    bundle_refresh_hint: Seconds = 300
    """How often others are asked to look at the trust bundle. Seconds, default 300."""
    federation_ca_file: str = ""
    """PEM file of the authorities of bundle endpoints with the profile HTTPS_WEB. Default empty: the system's."""

    def __post_init__(self) -> None:
        """Checks what spans fields."""
        if not _TRUST_DOMAIN.fullmatch(self.trust_domain):
            raise ConfigError("identity.trust_domain: must be 1 to 255 of a-z, 0-9, dot, dash and underscore")
        if not self.dir:
            raise ConfigError("identity.dir: must not be empty")
        for index, name in enumerate(self.names):
            if not _NAME.fullmatch(name) and not _is_ip(name):
                raise ConfigError(f"identity.names[{index}]: {name!r} is neither a DNS name nor an IP address")
        self._check_upstream()
        self._check_times()
        if self.bundle_address:
            check_address("identity.bundle_address", self.bundle_address)
            if is_unix(self.bundle_address):
                raise ConfigError("identity.bundle_address: must be host:port")

    def _check_upstream(self) -> None:
        fields = ("upstream_cert_file", "upstream_key_file", "upstream_bundle_file")
        given = [field for field in fields if getattr(self, field)]
        for field in fields:
            if given and field not in given:
                raise ConfigError(f"identity.{field}: is missing; {', '.join(fields)} go together")

    def _check_times(self) -> None:
        if self.certificate_ttl > self.max_certificate_ttl:
            raise ConfigError("identity.certificate_ttl: must not be above max_certificate_ttl")
        if self.intermediate_ttl < 2 * self.max_certificate_ttl:
            raise ConfigError("identity.intermediate_ttl: must be at least twice max_certificate_ttl")
        if self.root_ttl < 2 * self.intermediate_ttl:
            raise ConfigError("identity.root_ttl: must be at least twice intermediate_ttl")


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
