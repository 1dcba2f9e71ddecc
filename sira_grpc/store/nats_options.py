"""How a NATS cluster is reached, and what is asked of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

WRITE_TIMEOUT = 10.0
"""Default of write_timeout: a dead leader's stream has another within 4 to 9 s, so a write under way outlives it."""
_PREFIX = re.compile(r"[A-Za-z0-9-]{1,32}")


@dataclass(frozen=True, slots=True)
class NatsOptions:
    """The options of open_nats.

    Attributes:
        url: `nats://host:port` or `tls://host:port` of any servers of the cluster, with commas between them.
        prefix: the first part of the names of all streams and subjects: several Siras may share a NATS cluster.
        replicas: copies of each stream, 1 to 5. One is refused by a cluster unless it was asked for.
        write_timeout: seconds after which a write whose outcome has not come is given up.
        accept_weak_durability: warn, where the servers would be refused because they may lose what they acknowledged.
        credentials_file: of a NATS user (JWT and seed).
        user, password: of a NATS user.
        system_user, system_password: of the NATS system account; with them the servers' sync_interval is looked at.
        tls_ca_file, tls_cert_file, tls_key_file: PEM files: who the servers must be signed by, and what to show them.
    """

    url: str
    prefix: str = "sira"
    replicas: int = 3
    write_timeout: float = WRITE_TIMEOUT
    accept_weak_durability: bool = False
    credentials_file: str = ""
    user: str = ""
    password: str = ""
    system_user: str = ""
    system_password: str = ""
    tls_ca_file: str = ""
    tls_cert_file: str = ""
    tls_key_file: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError where an option breaks its rule."""
        if not self.urls:
            raise ValueError("url: must name at least one server, such as nats://10.0.0.1:4222")
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(f"prefix {self.prefix[:40]!r}: must be [A-Za-z0-9-]{{1,32}}")
        if not 1 <= self.replicas <= 5:
            raise ValueError(f"replicas is {self.replicas}: must be 1 to 5")
        if self.write_timeout <= 0:
            raise ValueError(f"write_timeout is {self.write_timeout}: must be above 0")

    @property
    def urls(self) -> list[str]:
        """The servers one by one."""
        return [part.strip() for part in self.url.split(",") if part.strip()]
