"""How connections are opened, and how soon again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

Dial = Callable[[str], grpc.aio.Channel]
"""Opens a connection, given where to, as gRPC is told."""

RECONNECT = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 2_000))
"""Channel options: a peer that comes back is found within 2 s."""

KERNEL = (
    *RECONNECT,
    # A kernel that is gone is found out within 15 s, even while nothing is sent.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
"""Channel options of a connection to a kernel."""

MEMBER = (
    *KERNEL,
    # There are others to go to, and half the TTL of a lease is soon over: one that stands still is found within 6 s.
    ("grpc.keepalive_time_ms", 4_000),
    ("grpc.keepalive_timeout_ms", 2_000),
)
"""Channel options of a connection to one of several members of a kernel."""

ENDPOINT = (
    *RECONNECT,
    # Servers send a client away that pings them more often than every 5 minutes, unless they were told to bear it.
    ("grpc.keepalive_time_ms", 310_000),
    # Also the TCP user timeout: what a peer has not acknowledged within it breaks the connection.
    ("grpc.keepalive_timeout_ms", 10_000),
)
"""Channel options of a connection to an endpoint."""


@dataclass(frozen=True, slots=True)
class Security:
    """What a connection is secured with.

    Attributes:
        credentials: for TLS; None for plaintext.
        server_name: that the peer's certificate must hold; empty for the host that is connected to.
    """

    credentials: grpc.ChannelCredentials | None = None
    server_name: str = ""


def dialer(
    security: Callable[[], Security],
    options: Sequence[tuple[str, Any]],
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
) -> Dial:
    """Makes what opens connections.

    Args:
        security: tells what the next connection is to be secured with.
        options: channel options; of two of the same name the last one counts.
        interceptors: for each connection.
    """

    def dial(target: str) -> grpc.aio.Channel:
        secured = security()
        if secured.credentials is None:
            return grpc.aio.insecure_channel(target, options, interceptors=interceptors)
        named = [("grpc.ssl_target_name_override", secured.server_name)] if secured.server_name else []
        return grpc.aio.secure_channel(target, secured.credentials, [*named, *options], interceptors=interceptors)

    return dial
