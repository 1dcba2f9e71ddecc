"""The options that describe a health check."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from sira.registry.v1.health_check_pb2 import GrpcCheck, HealthCheck, HttpCheck, TcpCheck

from sira_grpc.cli import health_check
from sira_grpc.cli.failures import Failure


@pytest.mark.parametrize(
    ("check", "made"),
    [
        (None, None),
        ("grpc", HealthCheck(grpc=GrpcCheck())),
        ("grpc:shop.Checkout", HealthCheck(grpc=GrpcCheck(service="shop.Checkout"))),
        ("http", HealthCheck(http=HttpCheck())),
        ("http:/healthz?full", HealthCheck(http=HttpCheck(path="/healthz?full"))),
        ("tcp", HealthCheck(tcp=TcpCheck())),
    ],
)
def test_kinds(check: str | None, made: HealthCheck | None) -> None:
    assert health_check.parse(check, None) == made


def test_an_interval() -> None:
    assert health_check.parse("tcp", "500ms") == HealthCheck(tcp=TcpCheck(), interval=Duration(nanos=500_000_000))


@pytest.mark.parametrize(("check", "interval"), [("udp", None), ("tcp:1", None), (None, "1s"), ("tcp", "often")])
def test_refuses_what_it_does_not_know(check: str | None, interval: str | None) -> None:
    with pytest.raises(Failure, match=r"^--check"):
        health_check.parse(check, interval)
