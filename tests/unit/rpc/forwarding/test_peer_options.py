"""How members connect to each other."""

from __future__ import annotations

import pytest

from sira_grpc.config import LimitsConfig, ServerConfig
from sira_grpc.rpc.forwarding.peers import peer_options
from sira_grpc.rpc.options import channel_options


@pytest.mark.parametrize("interval", [0.5, 5, 300])
def test_members_ping_no_faster_than_they_allow(interval: float) -> None:
    server = ServerConfig(min_ping_interval=interval)
    pings = dict(peer_options(server, ""))["grpc.keepalive_time_ms"]
    allowed = dict(channel_options(server, LimitsConfig()))["grpc.http2.min_ping_interval_without_data_ms"]
    assert isinstance(pings, int)
    assert pings > allowed


def test_the_name_of_members_is_looked_for_where_there_is_one() -> None:
    assert "grpc.ssl_target_name_override" not in dict(peer_options(ServerConfig(), ""))
    assert dict(peer_options(ServerConfig(), "kernel.td"))["grpc.ssl_target_name_override"] == "kernel.td"
