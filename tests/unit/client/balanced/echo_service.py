"""The echo service as it is registered, and calls to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import grpc
from sira.registry.v1.traffic_policy_pb2 import (
    LocalityFailover,
    TrafficPolicy,
)
from sira_client import (
    BalancedChannel,
    Endpoint,
    HealthState,
    Locality,
    Service,
)

from tests.unit.client.echo import Echo

SERVICE = "namespaces/default/services/echo"
ONE = "/test.Echo/One"
READY, CONNECTING, BROKEN, SHUTDOWN = (
    grpc.ChannelConnectivity.READY,
    grpc.ChannelConnectivity.CONNECTING,
    grpc.ChannelConnectivity.TRANSIENT_FAILURE,
    grpc.ChannelConnectivity.SHUTDOWN,
)


def endpoint(echo: Echo, *, region: str = "", zone: str = "", weight: int = 0) -> Endpoint:
    """The registration of a server, healthy."""
    made = Endpoint(name=f"{SERVICE}/endpoints/{echo.name.decode()}", addresses=["127.0.0.1"], port=echo.port)
    made.weight = weight
    made.locality.region, made.locality.zone = region, zone
    made.status.state = HealthState.HEALTH_STATE_SERVING
    return made


def service(**policy: Any) -> Service:
    return Service(name=SERVICE, traffic_policy=TrafficPolicy(**policy))


async def connected(channel: BalancedChannel, count: int) -> None:
    """Waits until so many endpoints are connected."""
    async with asyncio.timeout(20):
        while len(channel._balancer._connected()) != count:
            await channel._balancer.changed()


async def spread(channel: BalancedChannel, calls: int = 30, **arguments: Any) -> Counter[str]:
    """Who answers so many calls."""
    callee = channel.unary_unary(ONE)
    return Counter([(await callee(b"", timeout=20, **arguments)).decode() for _ in range(calls)])


async def call(channel: BalancedChannel, request: bytes = b"", **arguments: Any) -> str:
    answer: bytes = await channel.unary_unary(ONE)(request, timeout=20, **arguments)
    return answer.decode()


FAILOVER = {"locality_failover": LocalityFailover()}
HERE = Locality(region="eu", zone="a")
