from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2
from sira.registry.v1.health_check_pb2 import GrpcCheck, HealthCheck, HealthState

from sira_grpc.registry.probe_api import Prober, ProbeResult
from tests.unit.probes.certificates import Certificate, make_certificate
from tests.unit.probes.probe_servers import (
    GRPC_NOT_SERVING,
    GRPC_SERVING,
    Context,
    bare_grpc_server,
    deaf_port,
    endpoint,
    grpc_server,
    impatient,
    no_descriptors,
    silent,
    stream_server,
    unused_port,
)

GRPC = HealthCheck(grpc=GrpcCheck())


def says(state: HealthState.ValueType, cause: str) -> ProbeResult:
    return ProbeResult(state, cause, authoritative=True)


SAYS_SERVING = says(HealthState.HEALTH_STATE_SERVING, "server says SERVING")
SAYS_NOT_SERVING = says(HealthState.HEALTH_STATE_NOT_SERVING, "server says NOT_SERVING")
NO_SHOP = says(HealthState.HEALTH_STATE_NOT_SERVING, "server does not know service 'shop'")


def bad(cause: str) -> ProbeResult:
    return ProbeResult(HealthState.HEALTH_STATE_NOT_SERVING, cause)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost"])
async def test_the_server_is_believed(prober: Prober, address: str) -> None:
    bracketed = f"[{address}]" if ":" in address else address
    async with grpc_server(address=bracketed) as server:
        at = endpoint(server.port, GRPC, address=address)
        assert await prober.probe(at) == SAYS_SERVING
        await server.say(GRPC_NOT_SERVING)
        assert await prober.probe(at) == SAYS_NOT_SERVING
        await server.say(health_pb2.HealthCheckResponse.UNKNOWN)
        assert await prober.probe(at) == says(HealthState.HEALTH_STATE_UNKNOWN, "server says UNKNOWN")
        prober.release(at)


async def test_one_service_of_it(prober: Prober) -> None:
    async with grpc_server() as server:
        at = endpoint(1, HealthCheck(grpc=GrpcCheck(service="shop", port=server.port)))
        assert await prober.probe(at) == NO_SHOP
        await server.say(GRPC_SERVING, "shop")
        assert await prober.probe(at) == SAYS_SERVING


async def test_a_server_without_health_cannot_tell(prober: Prober) -> None:
    async with bare_grpc_server() as port:
        at = endpoint(port, GRPC)
        assert await prober.probe(at) == says(HealthState.HEALTH_STATE_UNKNOWN, "server has no grpc.health.v1")
        assert prober.follow(at) is None


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
async def test_a_server_that_will_not_tell(prober: Prober, code: grpc.StatusCode) -> None:
    async def refuse(_: bytes, context: Context) -> bytes:
        await context.abort(code, "who are you")

    async with bare_grpc_server(refuse) as port:
        expected = says(HealthState.HEALTH_STATE_UNKNOWN, f"server does not tell: {code.name}")
        assert await prober.probe(endpoint(port, GRPC)) == expected


@pytest.mark.parametrize(
    ("code", "text", "cause"),
    [
        (grpc.StatusCode.INTERNAL, "boom", "server answers INTERNAL"),
        (grpc.StatusCode.UNAVAILABLE, "going down", "server answers UNAVAILABLE"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", "server answers RESOURCE_EXHAUSTED"),
        (grpc.StatusCode.CANCELLED, "no", "server answers CANCELLED"),
    ],
)
async def test_any_other_error_counts_as_a_failure(
    prober: Prober, code: grpc.StatusCode, text: str, cause: str
) -> None:
    async def fail(_: bytes, context: Context) -> bytes:
        await context.abort(code, text)

    async with bare_grpc_server(fail) as port:
        assert await prober.probe(endpoint(port, GRPC)) == bad(cause)


async def test_a_status_of_the_future_cannot_be_told(prober: Prober) -> None:
    async def answer(_: bytes, __: Context) -> bytes:
        return b"\x08\x2a"  # status 42

    async with bare_grpc_server(answer) as port:
        assert await prober.probe(endpoint(port, GRPC)) == says(HealthState.HEALTH_STATE_UNKNOWN, "server says 42")


async def test_a_closed_port_is_bad(prober: Prober) -> None:
    with unused_port() as port:
        assert await prober.probe(endpoint(port, GRPC)) == bad("connection refused")


async def test_no_connection_in_time_is_bad(prober: Prober) -> None:
    with deaf_port() as port:
        assert await prober.probe(endpoint(port, impatient(HealthCheck(grpc=GrpcCheck())))) == bad(
            "no answer within 0.1s"
        )


async def test_no_answer_in_time_is_bad(prober: Prober) -> None:
    async with stream_server(silent) as port:
        assert await prober.probe(endpoint(port, impatient(HealthCheck(grpc=GrpcCheck())))) == bad(
            "no answer within 0.1s"
        )


async def test_a_server_of_another_kind_is_bad(prober: Prober) -> None:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(24)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.Event().wait()

    async with stream_server(http) as port:
        assert await prober.probe(endpoint(port, GRPC)) == bad("not a gRPC server")


async def test_a_name_that_is_none_is_bad(prober: Prober) -> None:
    assert await prober.probe(endpoint(80, GRPC, address="nobody.invalid")) == bad("host name cannot be resolved")


async def test_tls(prober: Prober, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory) -> None:
    check = HealthCheck(grpc=GrpcCheck(tls=True))
    async with grpc_server(certificate=certificate) as server:
        assert await prober.probe(endpoint(server.port, check)) == SAYS_SERVING
        plain = await prober.probe(endpoint(server.port, GRPC, name="e2"))
        assert plain.state == HealthState.HEALTH_STATE_NOT_SERVING
    stranger = make_certificate(tmp_path_factory.mktemp("stranger"), dns="probe.test", ip="127.0.0.1")
    async with grpc_server(certificate=stranger) as server:
        assert await prober.probe(endpoint(server.port, check, name="e3")) == bad("certificate not trusted")


async def test_a_recovery_is_seen_by_the_next_probe(prober: Prober) -> None:
    async with grpc_server() as server:
        at = endpoint(server.port, GRPC)
        assert await prober.probe(at) == SAYS_SERVING
    assert (await prober.probe(at)).state == HealthState.HEALTH_STATE_NOT_SERVING
    assert await prober.probe(at) == bad("connection refused")
    async with grpc_server(port=at.port):
        assert await prober.probe(at) == SAYS_SERVING


async def test_the_kernel_out_of_descriptors_is_no_evidence(prober: Prober) -> None:
    async with grpc_server() as server:
        at = endpoint(server.port, GRPC)
        with no_descriptors():
            before = await prober.probe(at)
        assert await prober.probe(at) == SAYS_SERVING
    async with grpc_server(port=at.port):
        with no_descriptors():  # there is a channel now, which would connect again
            after = await prober.probe(at)
        assert await prober.probe(at) == SAYS_SERVING
    blind = ProbeResult(HealthState.HEALTH_STATE_UNKNOWN, "the kernel cannot connect: Too many open files")
    assert (before, after) == (blind, blind)


def follow(prober: Prober, port: int, check: HealthCheck = GRPC) -> AsyncGenerator[ProbeResult, None]:
    stream = prober.follow(endpoint(port, check))
    assert stream is not None
    return stream


async def test_watch_tells_the_state_of_now_and_every_change(prober: Prober) -> None:
    async with grpc_server() as server:
        stream = follow(prober, server.port, HealthCheck(grpc=GrpcCheck(service="shop")))
        assert await anext(stream) == NO_SHOP
        await server.say(GRPC_SERVING, "shop")
        assert await anext(stream) == SAYS_SERVING
        await server.say(GRPC_NOT_SERVING, "shop")
        assert await anext(stream) == SAYS_NOT_SERVING
        await stream.aclose()


async def test_watch_ends_when_the_server_goes(prober: Prober) -> None:
    async with grpc_server() as server:
        stream = follow(prober, server.port)
        assert await anext(stream) == SAYS_SERVING
    assert [result async for result in stream] == []


async def test_watch_ends_when_the_server_ends_it(prober: Prober) -> None:
    async def watch(_: bytes, __: Context) -> AsyncIterator[bytes]:
        yield b"\x08\x01"

    async with bare_grpc_server(watch=watch) as port:
        assert [result async for result in follow(prober, port)] == [SAYS_SERVING]


async def test_watch_ends_when_nothing_comes_in_time(prober: Prober) -> None:
    async def watch(_: bytes, __: Context) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with bare_grpc_server(watch=watch) as port:
        stream = follow(prober, port, impatient(HealthCheck(grpc=GrpcCheck())))
        assert [result async for result in stream] == []


async def test_where_watch_is_missing_it_is_not_tried_again(prober: Prober) -> None:
    async def check(_: bytes, __: Context) -> bytes:
        return b"\x08\x01"

    async with bare_grpc_server(check) as port:
        at = endpoint(port, GRPC)
        assert await prober.probe(at) == SAYS_SERVING
        assert [result async for result in follow(prober, port)] == []
        assert prober.follow(at) is None
        assert await prober.probe(at) == SAYS_SERVING
        prober.release(at)
        assert await prober.probe(at) == SAYS_SERVING
        assert prober.follow(at) is not None  # another connection, perhaps another server
