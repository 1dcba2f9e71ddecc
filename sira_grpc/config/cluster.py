"""The configuration of the cluster: heartbeats, and how long what does not answer is waited for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sira_grpc.config.address import check_address, is_unix
from sira_grpc.config.kinds import Seconds, Section
from sira_grpc.errors import ConfigError

_ALL_INTERFACES = ("0.0.0.0", "[::]", "")
MIN_BEATS = 3
"""Heartbeats that a member must miss, at least, before it counts as dead: one or two are late on any busy machine."""


class ClusterConfig(Section, frozen=True):
    """Members that share a store. All members of a cluster should say the same."""

    heartbeat_interval: Annotated[float, Meta(ge=0.05, le=60)] = 0.3
    """How often a member writes that it is there, on a store that it shares. Seconds, default 0.3."""
    member_timeout: Annotated[float, Meta(ge=0.15, le=600)] = 1.2
    """Silence after which a member counts as dead, and others take over. Seconds, default 1.2.

    At least three heartbeat_intervals. Time in which the store takes no heartbeats does not count."""
    store_timeout: Seconds = 2
    """How long no heartbeat may go through before health turns NOT_SERVING. Seconds, default 2."""
    forward_timeout: Seconds = 3
    """How long a call that is another member's is tried to be forwarded, while that one changes. Seconds, default 3."""
    advertise_addresses: tuple[str, ...] = ()
    """`host:port` each, where clients and other members reach this one. Default: server.addresses, with the host's name
    in place of one that stands for all interfaces."""
    tls_ca_file: str = ""
    """PEM file of the authorities that the certificates of the other members are verified with. Default empty.

    Needed with server.tls on a store that is shared; with identity it is not used."""

    def __post_init__(self) -> None:
        """Checks what spans fields."""
        if self.member_timeout < MIN_BEATS * self.heartbeat_interval * (1 - 1e-9):
            raise ConfigError(f"cluster.member_timeout: must be at least {MIN_BEATS} times heartbeat_interval")
        for index, address in enumerate(self.advertise_addresses):
            key = f"cluster.advertise_addresses[{index}]"
            check_address(key, address)
            if is_unix(address) or address.endswith(":0"):
                raise ConfigError(f"{key}: must be host:port, with a port above 0")

    def advertised(self, addresses: Sequence[str], host: str) -> list[str]:
        """Returns where a member says that it is reached.

        Unix sockets, which lead nowhere from other machines, are named only where there is nothing else.

        Args:
            addresses: where it listens.
            host: name of its machine.
        """
        if self.advertise_addresses:
            return list(self.advertise_addresses)
        reached = []
        for address in addresses:
            listened, _, port = address.rpartition(":")
            if not is_unix(address):
                reached.append(f"{host}:{port}" if listened in _ALL_INTERFACES else address)
        return reached or list(addresses)
