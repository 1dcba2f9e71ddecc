"""The health checks, the probers and real servers together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import GrpcCheck, HealthCheck, HealthState, HttpCheck, TcpCheck

from sira_grpc.clock import SystemClock
from sira_grpc.probes import make_prober
from sira_grpc.registry.health_checks import HealthChecks
from sira_grpc.registry.probe_api import ProbeResult
from tests.unit.probes.probe_servers import (
    GRPC_NOT_SERVING,
    GRPC_SERVING,
    bare_grpc_server,
    endpoint,
    grpc_server,
    silent,
    stream_server,
    unused_port,
)
from tests.unit.probes.probe_servers import Context as GrpcContext

SERVING = HealthState.HEALTH_STATE_SERVING
NOT_SERVING = HealthState.HEALTH_STATE_NOT_SERVING
UNKNOWN = HealthState.HEALTH_STATE_UNKNOWN


class Watched:
    """Health checks, and what they report in order."""

    def __init__(self) -> None:
        self.prober = make_prober()
        self.reports: asyncio.Queue[tuple[str, ProbeResult]] = asyncio.Queue()
        self.checks = HealthChecks(
            self.prober,
            lambda name, result: self.reports.put_nowait((name, result)),
            clock=SystemClock(),
            random=Random(7),
            max_concurrent=100,
        )

    async def next(self) -> tuple[HealthState.ValueType, str]:
        """Waits for the next change of state."""
        _, result = await self.reports.get()
        return result.state, result.cause


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    made = Watched()
    yield made
    await made.checks.close()
    await made.prober.close()


def rarely(check: HealthCheck) -> HealthCheck:
    """Probed so rarely that whatever a test sees did not come from waiting for the next probe."""
    check.interval.FromSeconds(3600)
    return check


def often(check: HealthCheck) -> HealthCheck:
    """Probed as often as is allowed."""
    check.interval.FromMilliseconds(100)
    check.fall = 2
    return check


async def test_a_change_is_seen_at_once_by_watch(watched: Watched) -> None:
    async with grpc_server() as server:
        watched.checks.set(endpoint(server.port, rarely(HealthCheck(grpc=GrpcCheck()))))
        assert await watched.next() == (SERVING, "server says SERVING")
        await server.say(GRPC_NOT_SERVING)
        assert await watched.next() == (NOT_SERVING, "server says NOT_SERVING")
        await server.say(GRPC_SERVING)
        assert await watched.next() == (SERVING, "server says SERVING")


async def test_a_server_that_goes_falls_and_rises_again(watched: Watched) -> None:
    async with grpc_server() as server:
        at = endpoint(server.port, often(HealthCheck(grpc=GrpcCheck())))
        watched.checks.set(at)
        assert await watched.next() == (SERVING, "server says SERVING")
    state, _ = await watched.next()
    assert state == NOT_SERVING
    async with grpc_server(port=at.port) as server:
        assert await watched.next() == (SERVING, "server says SERVING")
        await server.say(GRPC_NOT_SERVING)
        assert await watched.next() == (NOT_SERVING, "server says NOT_SERVING")


async def test_a_suspect_that_is_gone_is_found_out_at_once(watched: Watched) -> None:
    async with stream_server(silent) as port:
        watched.checks.set(endpoint(port, rarely(HealthCheck(tcp=TcpCheck()))))
        assert await watched.next() == (SERVING, "accepts connections")
    watched.checks.probe_now("e1")
    assert await watched.next() == (NOT_SERVING, "connection refused")


async def test_a_server_without_watch_is_polled(watched: Watched) -> None:
    statuses = [b"\x08\x01", b"\x08\x01", b"\x08\x02"]

    async def check(_: bytes, __: GrpcContext) -> bytes:
        return statuses.pop(0) if len(statuses) > 1 else statuses[0]

    async with bare_grpc_server(check) as port:
        watched.checks.set(endpoint(port, often(HealthCheck(grpc=GrpcCheck()))))
        assert await watched.next() == (SERVING, "server says SERVING")
        assert await watched.next() == (NOT_SERVING, "server says NOT_SERVING")


async def test_a_server_without_health_is_unknown(watched: Watched) -> None:
    async with bare_grpc_server() as port:
        watched.checks.set(endpoint(port, rarely(HealthCheck(grpc=GrpcCheck()))))
        assert await watched.next() == (UNKNOWN, "server has no grpc.health.v1")


async def test_http_falls_and_rises(watched: Watched) -> None:
    answers = [b"200 OK", b"503 X", b"503 X", b"503 X", b"200 OK"]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        status = answers.pop(0) if len(answers) > 1 else answers[0]
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status)
        await writer.drain()

    async with stream_server(answer) as port:
        watched.checks.set(endpoint(port, often(HealthCheck(http=HttpCheck()))))
        assert [await watched.next() for _ in range(3)] == [
            (SERVING, "HTTP 200"),
            (NOT_SERVING, "HTTP 503"),
            (SERVING, "HTTP 200"),
        ]


async def test_endpoints_of_one_server_that_come_and_go(watched: Watched) -> None:
    async with grpc_server() as server:
        await server.say(GRPC_SERVING, "shop")
        for service in ("", "shop", "none"):
            check = rarely(HealthCheck(grpc=GrpcCheck(service=service)))
            watched.checks.set(endpoint(server.port, check, name=f"e-{service}"))
        found = dict([await watched.reports.get() for _ in range(3)])
        assert {name: result.state for name, result in found.items()} == {
            "e-": SERVING,
            "e-shop": SERVING,
            "e-none": NOT_SERVING,
        }
        watched.checks.remove("e-")
        await server.say(GRPC_NOT_SERVING)
        await server.say(GRPC_NOT_SERVING, "shop")
        name, result = await watched.reports.get()
        assert (name, result.state) == ("e-shop", NOT_SERVING)
    assert watched.reports.empty()


async def test_a_mass_of_endpoints_of_all_kinds(watched: Watched) -> None:
    def check_of(i: int) -> HealthCheck:
        kinds = (HealthCheck(tcp=TcpCheck()), HealthCheck(grpc=GrpcCheck()), HealthCheck(http=HttpCheck()))
        return rarely(kinds[i % 3])

    with unused_port() as port:
        endpoints: list[Endpoint] = [endpoint(port, check_of(i), name=f"e{i}") for i in range(300)]
        for one in endpoints:
            watched.checks.set(one)
        found = dict([await watched.reports.get() for _ in range(300)])
    assert set(found) == {one.name for one in endpoints}
    assert {(result.state, result.cause) for result in found.values()} == {(NOT_SERVING, "connection refused")}
