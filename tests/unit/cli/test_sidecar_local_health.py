"""How a service on loopback is asked for its health, and what the registry is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from sira.registry.v1.health_check_pb2 import GrpcCheck, HealthCheck, HealthState, TcpCheck
from sira_client.errors import NotFoundError, UnavailableError

from sira_grpc.cli.sidecar.local_health import LocalHealth
from sira_grpc.nats_server import free_ports

TCP = HealthCheck(tcp=TcpCheck())


class Registry:
    """Takes what a registration reports."""

    name = "namespaces/default/services/checkout/endpoints/one"
    closed = False

    def __init__(self) -> None:
        self.reports: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.failing: list[Exception] = []

    async def report_health(self, state: HealthState.ValueType, cause: str = "") -> None:
        if self.failing:
            raise self.failing.pop()
        await self.reports.put((HealthState.Name(state).removeprefix("HEALTH_STATE_"), cause))

    async def until(self, state: str) -> str:
        """Waits for a report of a state, and returns its cause."""
        async with asyncio.timeout(20):
            while True:
                reported, cause = await self.reports.get()
                if reported == state:
                    return cause


@asynccontextmanager
async def asked(check: HealthCheck, port: int) -> AsyncIterator[tuple[Registry, asyncio.Task[None]]]:
    registry: Any = Registry()
    asking = asyncio.create_task(LocalHealth(check, port, 0.02).run(registry))
    try:
        yield registry, asking
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


@asynccontextmanager
async def listening(port: int) -> AsyncIterator[None]:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


async def test_it_is_told_as_the_service_comes_and_goes(capsys: pytest.CaptureFixture[str]) -> None:
    (port,) = free_ports(1)
    async with asked(TCP, port) as (registry, _):
        assert await registry.until("NOT_SERVING") == "connection refused"
        async with listening(port):
            await registry.until("SERVING")
        await registry.until("NOT_SERVING")
        async with listening(port):
            await registry.until("SERVING")
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"the service on 127.0.0.1:{port} is NOT_SERVING: connection refused",
        f"the service on 127.0.0.1:{port} is SERVING",
        f"the service on 127.0.0.1:{port} is NOT_SERVING: connection refused",
        f"the service on 127.0.0.1:{port} is SERVING",
    ]


async def test_who_has_no_health_service_does_not_serve() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with asked(HealthCheck(grpc=GrpcCheck()), port) as (registry, _):
            assert await registry.until("NOT_SERVING") == "server has no grpc.health.v1"
    finally:
        await server.stop(None)


async def test_a_kernel_that_is_away_is_told_later(capsys: pytest.CaptureFixture[str]) -> None:
    (port,) = free_ports(1)
    async with listening(port), asked(TCP, port) as (registry, _):
        await registry.until("SERVING")
        registry.failing.append(UnavailableError("gone"))
        await registry.until("SERVING")
        while registry.failing:
            await registry.until("SERVING")
    assert "the health could not be reported, which is tried again: gone" in capsys.readouterr().err


async def test_a_registration_that_is_lost_ends_it() -> None:
    (port,) = free_ports(1)
    async with listening(port), asked(TCP, port) as (registry, asking):
        await registry.until("SERVING")
        registry.closed = True
        registry.failing.append(NotFoundError("no lease"))
        with pytest.raises(NotFoundError):
            await asking


def test_a_report_counts_for_three_intervals_and_as_long_as_a_lease() -> None:
    assert LocalHealth(TCP, 1, 10.0).ttl.ttl.ttl.ToSeconds() == 30
    assert LocalHealth(TCP, 1, 0.1).ttl.ttl.ttl.ToSeconds() == 15
