from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import GrpcCheck, HealthCheck

from sira_grpc.probes.channels import Channels, Target
from sira_grpc.probes.trust import RootsTrust, TrustRoots
from tests.unit.probes.probe_servers import endpoint, grpc_server


def at(name: str, *, port: int = 80, tls: bool = False, address: str = "192.0.2.1") -> Endpoint:
    return endpoint(port, HealthCheck(grpc=GrpcCheck(tls=tls)), address=address, name=name)


@pytest.fixture
async def channels() -> AsyncIterator[Channels]:
    made = Channels(RootsTrust(TrustRoots.load(None)))
    yield made
    await made.close()
    assert len(made) == 0


async def test_endpoints_at_one_place_share_a_connection(channels: Channels) -> None:
    first = channels.get(at("a"))
    assert channels.get(at("b")) is first
    assert channels.get(at("c", port=81)) is not first
    assert channels.get(at("d", tls=True)) is not first
    assert len(channels) == 3


async def test_a_connection_goes_with_its_last_endpoint(channels: Channels) -> None:
    first = channels.get(at("a"))
    channels.get(at("b"))
    channels.release(at("a"))
    assert channels.has(at("b"))
    channels.release(at("b"))
    channels.release(at("b"))
    assert not channels.has(at("b"))
    assert channels.get(at("b")) is not first


async def test_a_retired_connection_is_handed_out_no_more(channels: Channels) -> None:
    first = channels.get(at("a"))
    channels.retire(first)
    second = channels.get(at("a"))
    assert second is not first
    channels.retire(first)
    assert channels.get(at("a")) is second


async def test_a_retired_connection_outlives_its_calls(channels: Channels) -> None:
    async with grpc_server() as server:
        place = at("a", port=server.port, address="127.0.0.1")
        with channels.get(place) as connection:
            channels.retire(connection)
            request = health_pb2.HealthCheckRequest()
            response = await connection.check(request, timeout=10)
            assert response.status == health_pb2.HealthCheckResponse.SERVING
        await channels.close()
        with pytest.raises((grpc.aio.UsageError, asyncio.CancelledError)):
            await connection.check(request, timeout=10)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("192.0.2.1", "ipv4:192.0.2.1:80"),
        ("2001:db8::1", "ipv6:[2001:db8::1]:80"),
        ("shop.test", "dns:///shop.test:80"),
    ],
)
def test_targets_as_grpc_takes_them(address: str, text: str) -> None:
    assert str(Target(address, 80, tls=False)) == text
