"""What the configuration of the cluster refuses, and where a member says that it is reached."""

from __future__ import annotations

from typing import Any

import pytest

from sira_grpc.config import ClusterConfig, load
from sira_grpc.errors import ConfigError


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("MEMBER_TIMEOUT", "0.8", "cluster.member_timeout: must be at least 3 times heartbeat_interval"),
        ("HEARTBEAT_INTERVAL", "0.5", "cluster.member_timeout: must be at least 3 times heartbeat_interval"),
        ("HEARTBEAT_INTERVAL", "0", "cluster.heartbeat_interval"),
        ("STORE_TIMEOUT", "0", "cluster.store_timeout"),
        ("FORWARD_TIMEOUT", "-1", "cluster.forward_timeout"),
        ("ADVERTISE_ADDRESSES", "a:1,b", "cluster.advertise_addresses[1]: 'b' is neither host:port nor unix:path"),
        ("ADVERTISE_ADDRESSES", "unix:/a", "cluster.advertise_addresses[0]: must be host:port, with a port above 0"),
        ("ADVERTISE_ADDRESSES", "a:0", "cluster.advertise_addresses[0]: must be host:port, with a port above 0"),
    ],
)
def test_what_breaks_a_rule_is_named(variable: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as told:
        load(environment={f"SIRA_CLUSTER_{variable}": value})
    assert message in str(told.value)


def test_three_heartbeats_are_enough() -> None:
    assert ClusterConfig(heartbeat_interval=0.1, member_timeout=0.3).member_timeout == 0.3


@pytest.mark.parametrize(
    ("config", "listens", "reached"),
    [
        ({}, ["127.0.0.1:7400"], ["127.0.0.1:7400"]),
        ({}, ["0.0.0.0:7400", "[::]:7402", "[fd00::1]:7400"], ["web-1:7400", "web-1:7402", "[fd00::1]:7400"]),
        ({}, ["unix:/run/sira.sock", "10.0.0.1:7400"], ["10.0.0.1:7400"]),
        ({}, ["unix:/run/sira.sock"], ["unix:/run/sira.sock"]),
        ({"advertise_addresses": ("m1.example:1",)}, ["0.0.0.0:7400"], ["m1.example:1"]),
    ],
)
def test_where_a_member_is_reached(config: dict[str, Any], listens: list[str], reached: list[str]) -> None:
    assert ClusterConfig(**config).advertised(listens, "web-1") == reached
