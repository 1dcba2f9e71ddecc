"""The settings of gRPC's core."""

from __future__ import annotations

from sira_grpc.config import LimitsConfig, ServerConfig
from sira_grpc.rpc.options import channel_options


def test_seconds_become_milliseconds_that_the_core_can_hold() -> None:
    options = dict(channel_options(ServerConfig(keepalive_time=2.5, keepalive_timeout=86_400 * 365), LimitsConfig()))
    assert options["grpc.keepalive_time_ms"] == 2500
    assert options["grpc.keepalive_timeout_ms"] == 2**31 - 1


def test_connections_age_only_where_it_is_asked_for() -> None:
    assert "grpc.max_connection_age_ms" not in dict(channel_options(ServerConfig(), LimitsConfig()))
    options = dict(channel_options(ServerConfig(max_connection_age=60, max_connection_age_grace=5), LimitsConfig()))
    assert options["grpc.max_connection_age_ms"] == 60_000
    assert options["grpc.max_connection_age_grace_ms"] == 5_000


def test_no_connection_outlives_the_certificate_that_it_was_opened_with() -> None:
    options = dict(channel_options(ServerConfig(), LimitsConfig(), certificate_ttl=100))
    assert 1.1 * options["grpc.max_connection_age_ms"] < 50_000
    assert options["grpc.max_connection_age_grace_ms"] == 2**31 - 1
    asked = dict(channel_options(ServerConfig(max_connection_age=7), LimitsConfig(), certificate_ttl=100))
    assert asked["grpc.max_connection_age_ms"] == 7_000


def test_callers_meet_their_limits_before_http2_holds_them_back() -> None:
    limits = LimitsConfig(max_streams_per_caller=10, max_calls_per_caller=20)
    assert dict(channel_options(ServerConfig(), limits))["grpc.max_concurrent_streams"] > 30
