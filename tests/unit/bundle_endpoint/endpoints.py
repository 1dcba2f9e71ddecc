"""Bundle endpoints on loopback, real ones and hostile ones, and what it takes to speak to them."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from google.protobuf.duration_pb2 import Duration
from sira.identity.v1.trust_bundle_pb2 import TrustBundle

from sira_grpc.bundle_endpoint import BundleServer
from sira_grpc.svid import bundle_document
from sira_grpc.svid.x509_svid import to_der, to_pem
from tests.unit.svid.authority import Authority, Issued

KERNEL = "spiffe://a.test/member/m1"
ROOT = Authority(now=time.time())
INTERMEDIATE = Authority("intermediate", issuer=ROOT, now=time.time())
OTHER = Authority(now=time.time())
"""Another one by the same name."""
LOOPBACK = (x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1")), x509.IPAddress(ip_address("::1")))
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def pems(issued: Issued, *intermediates: Authority) -> tuple[bytes, bytes]:
    """What a server is given of a certificate."""
    return to_pem([issued.certificate, *(one.certificate for one in intermediates)]), issued.key_pem


def svid(identity: str = KERNEL) -> tuple[bytes, bytes]:
    """An X.509-SVID below an intermediate."""
    return pems(INTERMEDIATE.issue(identity), INTERMEDIATE)


def web_certificate(authority: Authority = ROOT, *names: x509.GeneralName) -> tuple[bytes, bytes]:
    """A certificate as public authorities issue it."""
    key = Authority().key
    return pems(Issued(authority.sign(key.public_key(), names=names or LOOPBACK), key))


def document(sequence: int = 7, refresh: int = 300) -> bytes:
    """The document of a bundle with one root."""
    roots = [to_der(ROOT.certificate)]
    bundle = TrustBundle(trust_domain="a.test", x509_authorities=roots, sequence=sequence)
    bundle.refresh_hint.CopyFrom(Duration(seconds=refresh))
    return bundle_document.write(bundle)


@dataclass
class Served:
    """What a server serves: a test may change it while the server runs."""

    document: bytes = field(default_factory=document)
    certificate: tuple[bytes, bytes] = field(default_factory=svid)


@asynccontextmanager
async def bundle_server(
    served: Served | None = None, *, connection_seconds: float = 30, max_connections: int = 256
) -> AsyncIterator[str]:
    """A bundle server. Yields its address."""
    now = served or Served()
    server = BundleServer(
        "127.0.0.1:0",
        lambda: now.document,
        lambda: now.certificate,
        connection_seconds=connection_seconds,
        max_connections=max_connections,
    )
    address = await server.start()
    try:
        yield address
    finally:
        await server.stop()


def server_context(certificate: tuple[bytes, bytes]) -> ssl.SSLContext:
    """For a server that is not ours."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "both.pem")
        path.write_bytes(b"".join(certificate))
        context.load_cert_chain(path)
    return context


@asynccontextmanager
async def hostile_server(handler: Handler, certificate: tuple[bytes, bytes] | None = None) -> AsyncIterator[int]:
    """A TLS server that does what a test wants, by default with a certificate of the web. Yields its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(OSError, EOFError, asyncio.CancelledError):
                await handler(reader, writer)
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    context = server_context(certificate or web_certificate())
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


def answering(*answers: bytes, requests: list[bytes] | None = None) -> Handler:
    """Sends these bytes, each after a request of its own connection, and closes; the last one again and again."""
    left = list(answers)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if requests is not None:
            requests.append(request)
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()

    return handle


def http(status: str, body: bytes = b"", **headers: str) -> bytes:
    """An answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode() + body


def trusting(*, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """For a client of ours, which trusts the root and asks for no name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = version
    context.load_verify_locations(cadata=to_der(ROOT.certificate))
    return context


@asynccontextmanager
async def connection(
    address: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection over TLS."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=tls or trusting())
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


@dataclass(frozen=True)
class Answer:
    """An answer to an HTTP request."""

    status: int
    headers: dict[str, str]
    body: bytes


async def ask(address: str, request: str = "GET / HTTP/1.1", **headers: str) -> Answer:
    """Sends one request, and reads until the server closes the connection."""
    lines = [request, "Host: a.test", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    async with connection(address) as (reader, writer):
        writer.write("\r\n".join((*lines, "", "")).encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    pairs = (field.split(": ", 1) for field in fields)
    return Answer(int(status.split(" ")[1]), {name.lower(): value for name, value in pairs}, body)
