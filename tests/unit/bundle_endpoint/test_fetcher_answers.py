from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence

import pytest
from cryptography import x509

from sira_grpc.bundle_endpoint import BundleFetcher
from sira_grpc.bundle_endpoint.fetcher import MAX_BYTES
from sira_grpc.errors import BundleUnavailable
from tests.unit.bundle_endpoint.endpoints import KERNEL, Handler, answering, hostile_server, http, svid
from tests.unit.bundle_endpoint.fetching import ROOTS, fetch_spiffe, fetch_web


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (http("404 Not Found"), "HTTP 404"),
        (http("500 Internal Server Error", b"secret"), "HTTP 500$"),
        (http("204 No Content"), "HTTP 204"),
        (http("304 Not Modified"), "HTTP 304"),
        (http("300 Multiple Choices", Location="https://a.test/"), "HTTP 300"),
        (b"", "the connection was closed without an answer"),
        (b"garbage\r\n\r\n", "the answer is not HTTP"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX-Filler: " + b"x" * 100_000 + b"\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome", "the answer broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "the answer broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "the answer is not HTTP|broke off"),
        (http("200 OK", b"\x1f\x8b", Content_Encoding="gzip"), "the answer is compressed"),
        (http("200 OK", b"x" * (MAX_BYTES + 1)), f"the answer has more than {MAX_BYTES} bytes"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * (MAX_BYTES + 1), f"the answer has more than {MAX_BYTES} bytes"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * 65_536 + b"\r\n",
            "the answer broke off",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 65_536 + b"\r\n") * 5,
            f"the answer has more than {MAX_BYTES} bytes",
        ),
    ],
)
async def test_answers_that_are_not_taken(web: BundleFetcher, answer: bytes, why: str) -> None:
    async with hostile_server(answering(answer)) as port:
        with pytest.raises(BundleUnavailable, match=why):
            await fetch_web(web, port)
    async with hostile_server(answering(answer), svid()) as port:
        with pytest.raises(BundleUnavailable, match=why):
            await fetch_spiffe(port)


async def test_the_largest_answer(web: BundleFetcher) -> None:
    async with hostile_server(answering(http("200 OK", b"x" * MAX_BYTES))) as port:
        assert await fetch_web(web, port) == b"x" * MAX_BYTES


async def test_an_answer_in_chunks(web: BundleFetcher) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with hostile_server(answering(answer)) as port:
        assert await fetch_web(web, port) == b"abcde"


async def test_the_request(web: BundleFetcher) -> None:
    requests: list[bytes] = []
    async with hostile_server(answering(http("200 OK", Set_Cookie="a=b"), requests=requests)) as port:
        for _ in range(2):
            await fetch_web(web, port, "/bundle.json?x=1")
    head, *fields = requests[0].decode().strip().split("\r\n")
    assert head == "GET /bundle.json?x=1 HTTP/1.1"
    assert sorted(field.lower() for field in fields if not field.startswith("Connection")) == [
        "accept-encoding: identity",
        "accept: application/json",
        f"host: localhost:{port}",
        "user-agent: sira",
    ]
    assert b"Cookie" not in requests[1]


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends a byte whenever the last one is sent, for ever, and much slower than anybody would wait for."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(100_000):
        writer.write(b"x")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("handler", [silent, dripping])
async def test_a_server_that_is_slow(handler: Handler) -> None:
    async with hostile_server(handler, svid()) as port:
        began = time.monotonic()
        with pytest.raises(BundleUnavailable, match=r"no answer within 0\.3 s"):
            await fetch_spiffe(port, seconds=0.3)
        assert time.monotonic() - began < 5


async def test_a_server_that_shakes_no_hand() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(BundleUnavailable, match=r"no answer within 0\.3 s"),
    ):
        await fetch_spiffe(listener.getsockname()[1], seconds=0.3)


async def test_a_server_that_speaks_no_tls(web: BundleFetcher) -> None:
    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    with pytest.raises(BundleUnavailable, match="no connection: "):
        await fetch_web(web, server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()


async def test_nobody_is_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(BundleUnavailable, match="no connection: Connection refused"):
            await fetch_spiffe(taken.getsockname()[1])


async def test_a_host_that_nobody_knows() -> None:
    with pytest.raises(BundleUnavailable, match="its host name cannot be resolved"):
        await fetch_spiffe("nobody.invalid")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "http://localhost/",
        "ftp://localhost/",
        "file:///etc/passwd",
        "https://",
        "https:///bundle",
        "https://ann@localhost/",
        "https://ann:secret@localhost/",
        "https://[::1/",
        " https://localhost/",
    ],
)
@pytest.mark.parametrize("roots", [None, ROOTS])
async def test_what_is_no_url(web: BundleFetcher, url: str, roots: Sequence[x509.Certificate] | None) -> None:
    with pytest.raises(BundleUnavailable, match="this is no https URL with a host and without a user"):
        await web.fetch(url, roots=roots, identity=KERNEL)


@pytest.mark.parametrize(
    "url", ["https://localhost:0x50/", "https://localhost:70000/", "https://a..b/", "https://\u2603 x/"]
)
async def test_a_url_that_leads_nowhere(web: BundleFetcher, url: str) -> None:
    with pytest.raises(BundleUnavailable, match="did not answer with a bundle"):
        await web.fetch(url, roots=None, identity="")
