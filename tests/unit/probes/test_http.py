from __future__ import annotations

import asyncio

import pytest
from sira.registry.v1.health_check_pb2 import HealthCheck, HealthState, HttpCheck

from sira_grpc.registry.probe_api import Prober, ProbeResult
from tests.unit.probes.certificates import Certificate, make_certificate
from tests.unit.probes.probe_servers import Handler, endpoint, impatient, silent, stream_server, unused_port

HTTP = HealthCheck(http=HttpCheck())


def good(cause: str) -> ProbeResult:
    return ProbeResult(HealthState.HEALTH_STATE_SERVING, cause)


def bad(cause: str) -> ProbeResult:
    return ProbeResult(HealthState.HEALTH_STATE_NOT_SERVING, cause)


def answering(answer: bytes, requests: list[str] | None = None) -> Handler:
    """Answers the first request with these bytes and keeps the connection open."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        if requests is not None:
            requests.append(request)
        writer.write(answer)
        await writer.drain()
        await asyncio.Event().wait()

    return handle


async def ask(prober: Prober, answer: bytes, check: HttpCheck | None = None) -> ProbeResult:
    async with stream_server(answering(answer)) as port:
        return await prober.probe(endpoint(port, HealthCheck(http=check or HttpCheck())))


@pytest.mark.parametrize("status", [200, 204, 299])
async def test_a_good_status(prober: Prober, status: int) -> None:
    assert await ask(prober, b"HTTP/1.1 %d X\r\n\r\n" % status) == good(f"HTTP {status}")


@pytest.mark.parametrize("status", [301, 404, 503])
async def test_any_other_status_is_bad(prober: Prober, status: int) -> None:
    answer = b"HTTP/1.1 %d X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n" % status
    assert await ask(prober, answer) == bad(f"HTTP {status}")


async def test_the_check_says_what_is_good(prober: Prober) -> None:
    check = HttpCheck(min_status=300, max_status=404)
    assert await ask(prober, b"HTTP/1.1 404 X\r\n\r\n", check) == good("HTTP 404")
    assert await ask(prober, b"HTTP/1.1 200 X\r\n\r\n", check) == bad("HTTP 200")


async def test_only_the_head_is_waited_for(prober: Prober) -> None:
    assert await ask(prober, b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\nsome") == good("HTTP 200")


async def test_an_interim_answer_does_not_count(prober: Prober) -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    assert await ask(prober, answer) == good("HTTP 200")


async def test_the_first_of_two_answers_counts(prober: Prober) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 503 X\r\n\r\n"
    assert await ask(prober, answer) == good("HTTP 200")


async def test_a_switch_of_protocols_is_final(prober: Prober) -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nwhatever"
    assert await ask(prober, answer) == bad("HTTP 101")


async def test_the_request(prober: Prober) -> None:
    requests: list[str] = []
    async with stream_server(answering(b"HTTP/1.1 200 OK\r\n\r\n", requests)) as port:
        await prober.probe(endpoint(port, HTTP))
        check = HttpCheck(path="/live?x=1", port=port, host="shop.test:8080")
        await prober.probe(endpoint(1, HealthCheck(http=check)))
    assert requests[0].startswith("GET / HTTP/1.1\r\n")
    assert f"\r\nHost: 127.0.0.1:{port}\r\n" in requests[0]
    assert "\r\nConnection: close\r\n" in requests[0]
    assert requests[1].startswith("GET /live?x=1 HTTP/1.1\r\nHost: shop.test:8080\r\n")


async def test_an_ipv6_address_is_bracketed(prober: Prober) -> None:
    requests: list[str] = []
    async with stream_server(answering(b"HTTP/1.1 200 OK\r\n\r\n", requests), address="::1") as port:
        assert await prober.probe(endpoint(port, HTTP, address="::1")) == good("HTTP 200")
    assert f"\r\nHost: [::1]:{port}\r\n" in requests[0]


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00\x00\x12\x04"])
async def test_what_is_not_http_is_bad(prober: Prober, answer: bytes) -> None:
    assert await ask(prober, answer) == bad("the answer is not HTTP")


async def test_a_head_without_end_is_bad(prober: Prober) -> None:
    answer = b"HTTP/1.1 200 OK\r\n" + b"X-Filler: %s\r\n" % (b"x" * 100) * 2000
    assert await ask(prober, answer) == bad("the head of the answer is over 64 KiB")


async def test_a_connection_that_closes_is_bad(prober: Prober) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with stream_server(hang_up) as port:
        assert await prober.probe(endpoint(port, HTTP)) == bad("connection closed without an answer")


async def test_a_connection_that_is_reset_is_bad(prober: Prober) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)  # what is left unread makes it a reset

    async with stream_server(reset) as port:
        result = await prober.probe(endpoint(port, HTTP))
    assert result in (bad("connection reset"), bad("connection closed without an answer"))


async def test_a_closed_port_is_bad(prober: Prober) -> None:
    with unused_port() as port:
        assert await prober.probe(endpoint(port, HTTP)) == bad("connection refused")


async def test_silence_is_bad(prober: Prober) -> None:
    async with stream_server(silent) as port:
        result = await prober.probe(endpoint(port, impatient(HealthCheck(http=HttpCheck()))))
        assert result == bad("no answer within 0.1s")


async def test_tls_with_a_certificate_that_is_trusted(prober: Prober, certificate: Certificate) -> None:
    requests: list[str] = []
    handler = answering(b"HTTP/1.1 200 OK\r\n\r\n", requests)
    async with stream_server(handler, certificate=certificate) as port:
        assert await prober.probe(endpoint(port, HealthCheck(http=HttpCheck(tls=True)))) == good("HTTP 200")
        named = HealthCheck(http=HttpCheck(tls=True, host="probe.test"))
        assert await prober.probe(endpoint(port, named)) == good("HTTP 200")


async def test_tls_with_a_certificate_for_another_name(prober: Prober, certificate: Certificate) -> None:
    async with stream_server(silent, certificate=certificate) as port:
        result = await prober.probe(endpoint(port, HealthCheck(http=HttpCheck(tls=True, host="other.test"))))
    assert result.state == HealthState.HEALTH_STATE_NOT_SERVING
    assert result.cause.startswith("certificate not trusted: Hostname mismatch")


async def test_tls_with_a_certificate_that_is_not_trusted(
    prober: Prober, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = make_certificate(tmp_path_factory.mktemp("stranger"), dns="probe.test", ip="127.0.0.1")
    async with stream_server(silent, certificate=stranger) as port:
        result = await prober.probe(endpoint(port, HealthCheck(http=HttpCheck(tls=True))))
    assert result == bad("certificate not trusted: self-signed certificate")


async def test_tls_where_the_server_has_none(prober: Prober) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test ESMTP\r\n")
        await asyncio.Event().wait()

    async with stream_server(greet) as port:
        assert await prober.probe(endpoint(port, HealthCheck(http=HttpCheck(tls=True)))) == bad("TLS handshake failed")
