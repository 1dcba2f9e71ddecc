"""A kernel with identity over real TLS, whose authority's keys a test has too, to issue what no kernel would."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from grpc import aio
from sira.identity.v1.authority_service_pb2 import CreateJoinTokenRequest, RevokeCertificatesRequest
from sira.identity.v1.authority_service_pb2_grpc import AuthorityServiceStub
from sira.identity.v1.identity_service_pb2 import (
    IssueCertificateRequest,
    IssueCertificateResponse,
    IssueJwtRequest,
)
from sira.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sira.identity.v1.join_token_pb2 import JoinToken
from sira.identity.v1.rotation_pb2 import RotationStage
from sira.kernel.v1.kernel_service_pb2 import GetStatusRequest
from sira.kernel.v1.kernel_service_pb2_grpc import KernelServiceStub

from sira_grpc.config import IdentityConfig, KernelConfig, ServerConfig, StoreConfig
from sira_grpc.identity.authority import Authority
from sira_grpc.identity.identity import Identity
from sira_grpc.identity.own_certificate import OwnCertificate
from sira_grpc.kernel import Kernel
from sira_grpc.svid import identity_directory, signing_request, x509_svid
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.times import NANOS
from tests.integration.edge_server import failure_of
from tests.unit.svid import authority as forging

DOMAIN = "td.test"
WEB, API = (f"spiffe://{DOMAIN}/ns/default/svc/{name}" for name in ("web", "api"))
NODE = f"spiffe://{DOMAIN}/node/n1"
PATIENCE = 20.0
"""Seconds after which a call fails, and so a test."""
ACCEPTED = "it is accepted"
HANDSHAKE = "the handshake fails"
SETTINGS = 4
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""How an HTTP/2 client begins: the preface, and empty SETTINGS, which the server answers with its own."""


class MovedClock:
    """The machine's clocks, but the kernel's wall clock goes wrong by as much as a test wants: TLS's does not."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time_ns(self) -> int:
        return time.time_ns() + round(self.ahead * NANOS)

    def monotonic(self) -> float:
        return time.monotonic()


class Signer(forging.Authority):
    """Issues in the name of a certificate whose key it has."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.name = certificate.subject
        self.now = time.time()
        self.key = key
        self.certificate = certificate


@dataclass(frozen=True)
class Held:
    """What a client shows: PEM."""

    chain: bytes
    key: bytes = field(repr=False)

    @property
    def serial(self) -> str:
        return x509_svid.serial_of(x509_svid.read_pem(self.chain)[0])


def held(issued: forging.Issued, *intermediates: x509.Certificate) -> Held:
    """What was forged, with what goes after it."""
    return Held(x509_svid.to_pem([issued.certificate, *intermediates]), issued.key_pem)


class World:
    """A kernel, and its clients: each channel is a connection of its own."""

    def __init__(self, kernel: Kernel, clock: MovedClock, folder: Path) -> None:
        assert kernel.identity is not None
        self.kernel = kernel
        self.identity: Identity = kernel.identity
        self.clock = clock
        self.folder = folder
        self._channels: list[aio.Channel] = []

    @property
    def revision(self) -> int:
        """Of the store: everything that is changed makes it grow."""
        return self.identity.view.revision

    @property
    def authority(self) -> Authority:
        """That issues, with its keys."""
        return self.identity._opened.keyring.issuing()

    @property
    def issuer(self) -> Signer:
        """The kernel's intermediate."""
        return Signer(self.authority.issuer, self.authority.issuing_key)

    @property
    def root(self) -> Signer:
        """The kernel's root."""
        assert self.authority.root_key is not None
        return Signer(self.authority.root, self.authority.root_key)

    @property
    def bundle(self) -> bytes:
        """The roots, PEM."""
        return x509_svid.to_pem(self.identity.trust.roots()[DOMAIN])

    @property
    def operator(self) -> Held:
        files = identity_directory.read(self.identity.operator.directory)
        return Held(files.svid, files.key)

    def channel(self, shown: Held | None) -> aio.Channel:
        """A new connection: with a certificate to the one door, without to the other."""
        address = self.kernel.addresses[0] if shown else self.kernel.token_addresses[0]
        credentials = grpc.ssl_channel_credentials(self.bundle, *((shown.key, shown.chain) if shown else ()))
        return self.keep(aio.secure_channel(address, credentials, [("grpc.use_local_subchannel_pool", 1)]))

    def keep(self, channel: aio.Channel) -> aio.Channel:
        """Closes a channel when the kernel is stopped."""
        self._channels.append(channel)
        return channel

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()

    async def secret(self, *identities: str, ttl: int | None = None, **fields: Any) -> str:
        """Has an operator create a join token."""
        stub: Any = AuthorityServiceStub(self.channel(self.operator))
        request = CreateJoinTokenRequest(join_token=JoinToken(identities=identities, **fields))
        if ttl is not None:
            request.ttl.FromSeconds(ttl)
        response = await stub.CreateJoinToken(request, timeout=PATIENCE)
        return str(response.secret)

    async def join(self, identity: str, *, ttl: int | None = None, **fields: Any) -> Held:
        """Joins with a token of its own."""
        secret = await self.secret(identity, **fields)
        key, csr = signing_request.make(SpiffeId.parse(identity))
        response = await self.issue(self.channel(None), csr, secret, ttl=ttl)
        chain = x509_svid.to_pem([x509_svid.read_der(der) for der in response.chain])
        return Held(chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    async def issue(
        self,
        channel: aio.Channel,
        csr: bytes,
        join_token: str = "",
        *,
        ttl: int | None = None,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> IssueCertificateResponse:
        stub: Any = IdentityServiceStub(channel)
        request = IssueCertificateRequest(csr=csr, join_token=join_token)
        if ttl is not None:
            request.ttl.FromSeconds(ttl)
        response: IssueCertificateResponse = await stub.IssueCertificate(request, metadata=metadata, timeout=PATIENCE)
        return response

    async def jwt(self, shown: Held, *, audience: str = f"spiffe://{DOMAIN}", ttl: int = 300) -> str:
        """Has a token issued."""
        stub: Any = IdentityServiceStub(self.channel(shown))
        request = IssueJwtRequest(audiences=[audience])
        request.ttl.FromSeconds(ttl)
        return str((await stub.IssueJwt(request, timeout=PATIENCE)).token)

    async def revoke(self, **target: str) -> None:
        """Has an operator revoke."""
        stub: Any = AuthorityServiceStub(self.channel(self.operator))
        await stub.RevokeCertificates(RevokeCertificatesRequest(**target), timeout=PATIENCE)

    async def retire_root(self) -> None:
        """Exchanges the root without waiting for anybody, and waits until the kernel has followed."""
        rotator = self.identity.rotator
        async with asyncio.timeout(PATIENCE):
            await rotator.start()
            followed = [_next_install(own) for own in self.identity._own]
            await rotator.advance(RotationStage.ROTATION_STAGE_PUBLISHING)
            for event in followed:
                await event.wait()
            await rotator.advance(RotationStage.ROTATION_STAGE_ISSUING)
            await rotator.advance(RotationStage.ROTATION_STAGE_RETIRING)

    async def status(self, shown: Held) -> str:
        """What a caller with a certificate is told over a new connection."""
        if not await self.serves(shown):
            assert (await told(status(self.channel(shown)))).startswith("`UNAVAILABLE`")
            return HANDSHAKE
        return await told(status(self.channel(shown)))

    async def serves(self, shown: Held | None, *, encrypted: bool = True) -> bool:
        """Whether a client of OpenSSL's, not gRPC's, gets as far as HTTP/2 at the door for certificates.

        Under TLS 1.3 the client's own handshake is over before the server has looked at its certificate.
        """
        host, _, port = self.kernel.addresses[0].rpartition(":")
        context = self._context(shown) if encrypted else None
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(
                host, int(port), ssl=context, server_hostname="localhost" if encrypted else None
            )
            try:
                writer.write(HELLO)
                answer = await reader.read(9)
            except (ssl.SSLError, ConnectionError):
                return False
            finally:
                writer.transport.abort()
        return len(answer) == 9 and answer[3] == SETTINGS

    def _context(self, shown: Held | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.bundle.decode())
        context.set_alpn_protocols(["h2"])
        if shown is not None:
            files = self.write(shown)
            context.load_cert_chain(*files)
        return context

    def write(self, shown: Held) -> tuple[Path, Path]:
        """Writes a certificate and its key to files."""
        chain, key = self.folder / "shown.pem", self.folder / "shown.key"
        chain.write_bytes(shown.chain)
        key.write_bytes(shown.key)
        return chain, key


Attempt = Callable[[], Awaitable[str]]
"""Shows something, and says what came of it."""


@dataclass(frozen=True)
class Row:
    """One thing that is refused.

    Attributes:
        shown: what it is, as in docs/identity.md.
        gets: what the caller gets, as there.
        arrange: prepares everything and returns the attempt, which must change nothing.
    """

    shown: str
    gets: str
    arrange: Callable[[World], Awaitable[Attempt]]


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[World]:
    """Runs a kernel until the block ends."""
    config = KernelConfig(
        server=ServerConfig(addresses=("127.0.0.1:0",), token_addresses=("127.0.0.1:0",), drain_grace=0.01),
        store=StoreConfig(data_dir=str(folder / "data")),
        identity=IdentityConfig(enabled=True, dir=str(folder / "identity"), trust_domain=DOMAIN),
    )
    clock = MovedClock()
    async with Kernel(config, clock=clock) as kernel:
        world = World(kernel, clock, folder)
        try:
            yield world
        finally:
            await world.close()


def _next_install(own: OwnCertificate) -> asyncio.Event:
    """Is set once the next certificate of the kernel's own is in use."""
    event, install = asyncio.Event(), own._install

    async def installing(chain: bytes, key: bytes, authority: str) -> None:
        await install(chain, key, authority)
        event.set()

    own._install = installing
    return event


async def status(channel: aio.Channel, metadata: Sequence[tuple[str, str]] = ()) -> None:
    """A call that everybody with an identity may make."""
    stub: Any = KernelServiceStub(channel)
    await stub.GetStatus(GetStatusRequest(), metadata=metadata, timeout=PATIENCE)


async def told(call: Awaitable[Any]) -> str:
    """What a caller is told: the status and the reason."""
    try:
        await call
    except aio.AioRpcError as error:
        failed = failure_of(error)
        return ", ".join(f"`{part}`" for part in (failed.code.name, failed.reason) if part)
    return ACCEPTED


def table(document: Path, section: str) -> Mapping[str, str]:
    """First and second cell of the rows of the table in a section of a document."""
    text = document.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    rows = {line[0]: line[1] for line in lines}
    assert len(rows) == len(lines), f"{document.name}: a row is there twice"
    return rows
