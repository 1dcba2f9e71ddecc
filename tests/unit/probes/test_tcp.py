from __future__ import annotations

import socket

import pytest
from sira.registry.v1.health_check_pb2 import HealthCheck, HealthState, TcpCheck

from sira_grpc.registry.probe_api import Prober, ProbeResult
from tests.unit.probes.probe_servers import (
    deaf_port,
    endpoint,
    impatient,
    no_descriptors,
    silent,
    stream_server,
    unused_port,
)

TCP = HealthCheck(tcp=TcpCheck())
GOOD = ProbeResult(HealthState.HEALTH_STATE_SERVING, "accepts connections")


def bad(cause: str) -> ProbeResult:
    return ProbeResult(HealthState.HEALTH_STATE_NOT_SERVING, cause)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost"])
async def test_an_open_port_is_good(prober: Prober, address: str) -> None:
    async with stream_server(silent, address=address) as port:
        assert await prober.probe(endpoint(port, TCP, address=address)) == GOOD


async def test_a_port_of_its_own(prober: Prober) -> None:
    async with stream_server(silent) as port:
        assert await prober.probe(endpoint(1, HealthCheck(tcp=TcpCheck(port=port)))) == GOOD


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_closed_port_is_bad(prober: Prober, address: str) -> None:
    with unused_port(address) as port:
        assert await prober.probe(endpoint(port, TCP, address=address)) == bad("connection refused")


async def test_no_answer_is_bad(prober: Prober) -> None:
    with deaf_port() as port:
        result = await prober.probe(endpoint(port, impatient(HealthCheck(tcp=TcpCheck()))))
        assert result == bad("no answer within 0.1s")


@pytest.mark.parametrize("name", ["nobody.invalid", "a..b", "x" * 64 + ".test"])
async def test_a_name_that_is_none_is_bad(prober: Prober, name: str) -> None:
    assert await prober.probe(endpoint(80, TCP, address=name)) == bad("host name cannot be resolved")


async def test_a_name_with_several_addresses_is_tried_at_each(prober: Prober, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(name: str, port: int, **_: object) -> list[object]:
        assert name == "two.test"
        return [(0, 0, 0, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with stream_server(silent) as port:
        assert await prober.probe(endpoint(port, TCP, address="two.test")) == GOOD


async def test_the_kernel_out_of_descriptors_is_no_evidence(prober: Prober) -> None:
    async with stream_server(silent) as port:
        with no_descriptors():
            result = await prober.probe(endpoint(port, TCP))
    cause = "the kernel cannot connect: Too many open files"
    assert result == ProbeResult(HealthState.HEALTH_STATE_UNKNOWN, cause)
