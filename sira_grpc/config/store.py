"""The configuration of the store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from sira_grpc.config.kinds import Count, Seconds, Secret, Section
from sira_grpc.errors import ConfigError

Replicas = Annotated[int, Meta(ge=1, le=5)]
"""Copies of what is stored, 1 to 5."""
_PREFIX = re.compile(r"[A-Za-z0-9-]{1,32}")
_SCHEMES = ("nats", "tls")


class StoreConfig(Section, frozen=True):
    """Where state is kept, and how much of its history."""

    data_dir: str = "sira-data"
    """Folder of the embedded engine, created if missing. Relative to the working folder. Default sira-data."""
    history_limit: Count = 100_000
    """Revisions that can still be watched from; older ones are compacted away. Default 100,000."""
    url: str = ""
    """Servers of the NATS cluster that members share, `nats://host:port` or `tls://host:port` with commas between them.
    Default empty: the embedded engine, in data_dir."""
    prefix: str = "sira"
    """First part of the names of all NATS streams and subjects, [A-Za-z0-9-]{1,32}. Members with the same one share
    their state. Default sira."""
    replicas: Replicas = 3
    """Copies that NATS keeps of everything, 1 to 5; half of them, rounded down, may be lost. Default 3."""
    write_timeout: Seconds = 10
    """How long a write waits for the NATS cluster. Seconds, default 10: an election takes 4 to 9 s."""
    accept_weak_durability: bool = False
    """Warn, where a NATS cluster would be refused because it may lose what it acknowledges. Default false."""
    credentials_file: str = ""
    """File of the credentials (JWT and seed) of a NATS user. Default empty."""
    user: str = ""
    """NATS user. Default empty."""
    password: Secret = Secret("")
    """Password of the NATS user. Secret."""
    system_user: str = ""
    """User of the NATS system account: with it, it is checked that every server has `sync_interval: always`.
    Default empty: not checked, with a warning."""
    system_password: Secret = Secret("")
    """Password of system_user. Secret."""
    tls_ca_file: str = ""
    """PEM file of the authorities that NATS servers must be signed by. Default empty: the machine's."""
    tls_cert_file: str = ""
    """PEM file of the certificate that NATS servers are shown. Default empty: none."""
    tls_key_file: str = ""
    """PEM file of the private key of tls_cert_file."""

    def __post_init__(self) -> None:
        """Checks what spans fields."""
        if not self.data_dir:
            raise ConfigError("store.data_dir: must not be empty")
        if not _PREFIX.fullmatch(self.prefix):
            raise ConfigError(f"store.prefix: must be [A-Za-z0-9-]{{1,32}}, not {self.prefix!r}")
        if self.url:
            for server in self.url.split(","):
                _check_url(server.strip())
        if self.credentials_file and self.user:
            raise ConfigError("store.credentials_file: must be empty with store.user")
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ConfigError("store.tls_key_file: must be set together with store.tls_cert_file")
        for name in ("credentials_file", "tls_ca_file", "tls_cert_file", "tls_key_file"):
            path = getattr(self, name)
            if path and not Path(path).is_file():
                raise ConfigError(f"store.{name}: {path} is no file")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        port = None
    if port is None or parts.scheme not in _SCHEMES or not parts.hostname or parts.path:
        raise ConfigError(f"store.url: {url!r} must be nats://host:port or tls://host:port")
    if parts.username is not None:
        raise ConfigError("store.url: must hold no user; set store.user and store.password")
