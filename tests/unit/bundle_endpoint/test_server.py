from __future__ import annotations

import asyncio
import logging
import socket
import ssl

import pytest

from sira_grpc.bundle_endpoint import BundleServer
from sira_grpc.bundle_endpoint.server import MAX_REQUEST_BYTES
from sira_grpc.errors import ConfigError
from sira_grpc.svid import bundle_document
from tests.unit.bundle_endpoint.endpoints import (
    Served,
    ask,
    bundle_server,
    connection,
    document,
    svid,
    trusting,
)


async def test_the_answer() -> None:
    async with bundle_server() as address:
        answer = await ask(address)
    assert (answer.status, answer.body) == (200, document())
    assert bundle_document.read("a.test", answer.body).sequence == 7
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(document()))
    assert answer.headers["cache-control"] == "max-age=300"
    assert answer.headers["etag"].startswith('"7-')
    assert answer.headers["connection"] == "close"
    assert answer.headers["server"] == "sira"


async def test_a_query_changes_nothing() -> None:
    async with bundle_server() as address:
        assert (await ask(address, "GET /?x=1 HTTP/1.1")).body == document()


async def test_without_a_hint_nothing_is_cached() -> None:
    async with bundle_server(Served(document=document(refresh=0))) as address:
        assert (await ask(address)).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
async def test_what_the_client_has_is_not_sent_again(form: str) -> None:
    async with bundle_server() as address:
        tag = (await ask(address)).headers["etag"]
        answer = await ask(address, If_None_Match=form.format(tag))
    assert (answer.status, answer.body) == (304, b"")
    assert (answer.headers["etag"], answer.headers["cache-control"]) == (tag, "max-age=300")


@pytest.mark.parametrize("changed", [document(sequence=8), document(refresh=60)])
async def test_a_change_is_sent(changed: bytes) -> None:
    """Also one that has the same sequence, as it is after a store went back to a backup."""
    served = Served()
    async with bundle_server(served) as address:
        tag = (await ask(address)).headers["etag"]
        served.document = changed
        answer = await ask(address, If_None_Match=tag)
    assert (answer.status, answer.body) == (200, changed)
    assert answer.headers["etag"] != tag


@pytest.mark.parametrize("tag", ["7", '"', '"8-0000000000000000"', "garbage, , "])
async def test_a_tag_that_is_not_ours(tag: str) -> None:
    async with bundle_server() as address:
        assert (await ask(address, If_None_Match=tag)).status == 200


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods(method: str) -> None:
    async with bundle_server() as address:
        answer = await ask(address, f"{method} / HTTP/1.1")
    assert (answer.status, answer.headers["allow"], answer.headers["server"]) == (405, "GET", "sira")


@pytest.mark.parametrize("path", ["/bundle", "/..", "//", "/%2e", "/index.html"])
async def test_other_paths(path: str) -> None:
    async with bundle_server() as address:
        assert (await ask(address, f"GET {path} HTTP/1.1")).status == 404


async def test_a_body_is_not_waited_for() -> None:
    async with bundle_server() as address:
        assert (await ask(address, Content_Length="1000000")).status == 200


@pytest.mark.parametrize("request_", ["garbage", "GET / HTTP/9.9", "GET / HTTP/1.1\r\nBad Header: x", "\x16\x03\x01"])
async def test_what_is_no_http(request_: str, caplog: pytest.LogCaptureFixture) -> None:
    async with bundle_server() as address:
        answer = await ask(address, request_)
        assert (answer.status, answer.headers["server"], answer.body) == (400, "sira", b"400\n")
        assert (await ask(address)).status == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_document_that_cannot_be_had(caplog: pytest.LogCaptureFixture) -> None:
    served = Served(document=b"not ready")
    async with bundle_server(served) as address:
        answer = await ask(address)
        assert (answer.status, answer.body) == (500, b"500\n")
        served.document = document()
        assert (await ask(address)).status == 200
    assert [record.message for record in caplog.records] == ["the bundle document cannot be served"]


async def test_old_tls_is_refused() -> None:
    async with bundle_server() as address:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with connection(address, trusting(version=ssl.TLSVersion.TLSv1_2)):
                pass
        assert (await ask(address)).status == 200


async def test_http_2_is_not_promised() -> None:
    tls = trusting()
    tls.set_alpn_protocols(["h2", "http/1.1"])
    async with bundle_server() as address, connection(address, tls) as (_, writer):
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("part", ["X-Filler: {}", "X: y\r\n" * 10 + "X-Filler: {}"])
async def test_a_request_that_is_too_long(part: str) -> None:
    filler = ("\r\n" + part.format("x" * 4000)) * (MAX_REQUEST_BYTES // 4000 + 1)
    async with bundle_server() as address:
        async with connection(address) as (reader, writer):
            writer.write(f"GET / HTTP/1.1{filler}".encode())
            with pytest.raises((ConnectionError, EOFError)):
                await reader.readexactly(1)
        assert (await ask(address)).status == 200


@pytest.mark.parametrize("beginning", [b"", b"GET / HTTP/1.1\r\n"])
async def test_a_client_that_says_nothing_is_cut_off(beginning: bytes) -> None:
    async with bundle_server(connection_seconds=0.3) as address:
        with pytest.raises((ConnectionError, EOFError)):
            await _say(address, beginning)


async def _say(address: str, beginning: bytes) -> None:
    """Sends this, and waits for the answer."""
    async with connection(address) as (reader, writer):
        writer.write(beginning)
        await reader.readexactly(1)


async def test_a_client_that_shakes_no_hand_is_cut_off() -> None:
    async with bundle_server(connection_seconds=0.2) as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    served = Served(document=document() + b" " * (32 << 20))
    async with (
        bundle_server(served, connection_seconds=1.5, max_connections=1) as address,
        connection(address) as (reader, writer),
    ):
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # it can read
        writer.write(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        await writer.drain()
        assert (await ask(address, "GET /none HTTP/1.1")).status == 404  # which is let in once the first one is out
        writer.transport.resume_reading()  # type: ignore[attr-defined]  # it can read
        with pytest.raises((ConnectionError, EOFError)):
            await reader.readexactly(32 << 20)


async def test_plain_http_is_no_trouble() -> None:
    async with bundle_server() as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        assert (await ask(address)).status == 200


async def test_connections_above_the_limit_wait() -> None:
    async with bundle_server(max_connections=2) as address, connection(address):
        async with connection(address):
            third = asyncio.create_task(ask(address))
            # It has been let in by the system, not by the server.
            done, _ = await asyncio.wait([third], timeout=0.1)
            assert not done
        assert (await third).status == 200
        assert (await ask(address)).status == 200


@pytest.mark.parametrize("host", ["[::1]", "localhost"])
async def test_it_listens_on_every_address_of_a_host(host: str) -> None:
    server = BundleServer(f"{host}:0", document, svid)
    bound = await server.start()
    name, _, port = bound.rpartition(":")
    assert name == host
    try:
        for family, _, _, _, place in socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM):
            reached = f"[{place[0]}]" if family == socket.AF_INET6 else place[0]
            assert (await ask(f"{reached}:{port}")).status == 200
    finally:
        await server.stop()


async def test_an_address_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = BundleServer(address, document, svid)
        with pytest.raises(ConfigError, match=rf"identity\.bundle_address: {address} cannot be bound: .*in use"):
            await server.start()
        await server.stop()


@pytest.mark.parametrize("address", ["192.0.2.1:0", "nothing.invalid:0"])
async def test_an_address_that_is_not_ours(address: str) -> None:
    server = BundleServer(address, document, svid)
    with pytest.raises(ConfigError, match=f"{address} cannot be bound"):
        await server.start()
    await server.stop()


async def test_stopping_with_connections_open() -> None:
    server = BundleServer("127.0.0.1:0", document, svid)
    address = await server.start()
    host, _, port = address.rpartition(":")
    silent_reader, silent = await asyncio.open_connection(host, int(port))
    async with connection(address) as (reader, writer), connection(address) as (late_reader, late):
        late.write(b"GET / HTTP/1.1\r\n")
        await late.drain()
        async with asyncio.timeout(5):
            await server.stop()
        for one in (reader, late_reader, silent_reader):
            with pytest.raises((ConnectionError, EOFError)):
                await one.readexactly(1)
        writer.close()
    silent.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, int(port))
    await server.stop()
    again = BundleServer(address, document, svid)
    assert await again.start() == address
    await again.stop()


async def test_stopping_what_was_not_started() -> None:
    await BundleServer("127.0.0.1:0", document, svid).stop()
