"""The settings of gRPC's core that the server runs with."""

from __future__ import annotations

from sira_grpc.config import LimitsConfig, ServerConfig

MAX_PENDING_REQUESTS = 100_000
"""New calls that may wait until Python sees them. gRPC's own 1,000 refuse calls at random when thousands come at once,
as they do after a restart. A waiting call costs some 10 KB."""
_STREAM_HEADROOM = 1_000
_AGE = 0.4
"""Share of a certificate's validity after which clients open another connection; gRPC varies it by 10%."""


def channel_options(
    server: ServerConfig, limits: LimitsConfig, *, certificate_ttl: float | None = None
) -> list[tuple[str, int]]:
    """Returns the channel arguments of the server.

    Args:
        server, limits: the configuration.
        certificate_ttl: validity of the certificates of callers, seconds; None where they have none of the kernel.
    """
    options = [
        ("grpc.max_receive_message_length", server.max_message_bytes),
        # A second kernel on the port must fail, and not take every other connection.
        ("grpc.so_reuseport", 0),
        ("grpc.server.max_pending_requests", MAX_PENDING_REQUESTS),
        ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_REQUESTS),
        # Above the limits of a caller: it meets their clear error before HTTP/2 holds its calls back in silence.
        (
            "grpc.max_concurrent_streams",
            limits.max_streams_per_caller + limits.max_calls_per_caller + _STREAM_HEADROOM,
        ),
        ("grpc.keepalive_time_ms", _ms(server.keepalive_time)),
        ("grpc.keepalive_timeout_ms", _ms(server.keepalive_timeout)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(server.min_ping_interval)),
        ("grpc.enable_channelz", 1),
    ]
    if server.max_connection_age:
        options += [
            ("grpc.max_connection_age_ms", _ms(server.max_connection_age)),
            ("grpc.max_connection_age_grace_ms", _ms(server.max_connection_age_grace)),
        ]
    elif certificate_ttl is not None:
        # Certificates are renewed at half of their lives: so no connection outlives the one that it was opened with.
        # What is under way on an old connection goes on.
        options += [
            ("grpc.max_connection_age_ms", _ms(_AGE * certificate_ttl)),
            ("grpc.max_connection_age_grace_ms", 2**31 - 1),
        ]
    return options


def _ms(seconds: float) -> int:
    return min(round(seconds * 1000), 2**31 - 1)
