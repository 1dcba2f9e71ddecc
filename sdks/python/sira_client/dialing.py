"""How connections are opened, and how soon again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc

Dial = Callable[[str], grpc.aio.Channel]
"""Opens a connection, given where to, as gRPC is told."""

RECONNECT = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 2_000))
"""Channel options: a peer that comes back is found within 2 s."""

_ENDPOINT = (
    *RECONNECT,
    # Servers send a client away that pings them more often than every 5 minutes, unless they were told to bear it.
    ("grpc.keepalive_time_ms", 310_000),
    # Also the TCP user timeout: what a peer has not acknowledged within it breaks the connection.
    ("grpc.keepalive_timeout_ms", 10_000),
)


def endpoint_dialer(
    credentials: grpc.ChannelCredentials | None,
    options: Sequence[tuple[str, Any]],
    interceptors: Sequence[grpc.aio.ClientInterceptor],
) -> Dial:
    """Makes what opens connections to endpoints.

    Args:
        credentials: for TLS; None for plaintext.
        options: further channel options, which win over those set here.
        interceptors: for each connection.
    """
    chosen = [*_ENDPOINT, *options]

    def dial(target: str) -> grpc.aio.Channel:
        if credentials is None:
            return grpc.aio.insecure_channel(target, chosen, interceptors=interceptors)
        return grpc.aio.secure_channel(target, credentials, chosen, interceptors=interceptors)

    return dial
