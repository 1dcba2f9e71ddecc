"""A kernel with identity that is a process of its own, and members of its trust domain: what is killed and rotated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc import aio
from sira.identity.v1 import authority_service_pb2 as authority_pb
from sira.identity.v1 import identity_service_pb2 as pb
from sira.identity.v1.authority_service_pb2_grpc import AuthorityServiceStub
from sira.identity.v1.certificate_pb2 import Certificate
from sira.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sira.identity.v1.join_token_pb2 import JoinToken
from sira.identity.v1.rotation_pb2 import Rotation
from sira.kernel.v1.kernel_service_pb2 import GetStatusRequest
from sira.kernel.v1.kernel_service_pb2_grpc import KernelServiceStub

from sira_grpc.svid import identity_directory, signing_request, x509_svid
from sira_grpc.svid.identity_directory import IdentityFiles
from sira_grpc.svid.spiffe_id import SpiffeId
from tests.integration.registry_kernel import reason_of
from tests.integration.sira_process import SiraProcess, up

TRUST_DOMAIN = "sira.internal"
CALL_SECONDS = 10
"""After which a test gives up on a call."""
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each channel
    ("grpc.ssl_target_name_override", f"kernel.{TRUST_DOMAIN}"),
)
Refusal = tuple[grpc.StatusCode, str]


def identity(name: str) -> SpiffeId:
    """The identity of a service."""
    return SpiffeId(TRUST_DOMAIN, ("ns", "default", "svc", name))


def connect(address: str, files: IdentityFiles) -> aio.Channel:
    """A connection of its own, with a certificate."""
    return aio.secure_channel(
        address, grpc.ssl_channel_credentials(files.bundle, files.key, files.svid), options=OPTIONS
    )


@dataclass(frozen=True)
class KernelProcess:
    """A kernel that runs."""

    process: SiraProcess
    address: str
    token_address: str
    root_sha256: str
    folder: Path

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        self.process.kill()

    def operator(self) -> IdentityFiles:
        """The local operator's identity, as it is now."""
        return identity_directory.read(self.folder / "identity" / "operator")

    @asynccontextmanager
    async def authority(self) -> AsyncIterator[Any]:
        """The operator's side, over a connection of its own: the operator's certificate changes when a root does."""
        async with connect(self.address, await asyncio.to_thread(self.operator)) as channel:
            yield AuthorityServiceStub(channel)

    def token_door(self, bundle: bytes = b"") -> aio.Channel:
        """A connection without a certificate, verified with some roots, or those that the operator knows."""
        roots = bundle or self.operator().bundle
        return aio.secure_channel(self.token_address, grpc.ssl_channel_credentials(roots), options=OPTIONS)

    async def status(self) -> authority_pb.IdentityStatus:
        """How identity is."""
        async with self.authority() as stub:
            answer = await stub.GetIdentityStatus(authority_pb.GetIdentityStatusRequest(), timeout=CALL_SECONDS)
        status = answer.status
        assert isinstance(status, authority_pb.IdentityStatus)
        return status

    async def create_token(self, max_uses: int = 1) -> tuple[str, str]:
        """Has a join token for services created. Returns its name and its secret."""
        wanted = JoinToken(identities=[f"spiffe://{TRUST_DOMAIN}/ns/default/svc/*"], max_uses=max_uses)
        request = authority_pb.CreateJoinTokenRequest(join_token=wanted)
        async with self.authority() as stub:
            answer = await stub.CreateJoinToken(request, timeout=CALL_SECONDS)
        return answer.join_token.name, answer.secret

    async def uses(self, token: str) -> int:
        """How often a join token was used, as the kernel counts."""
        request = authority_pb.ListJoinTokensRequest(page_size=1000)
        async with self.authority() as stub:
            answer = await stub.ListJoinTokens(request, timeout=CALL_SECONDS)
        (found,) = (each for each in answer.join_tokens if each.name == token)
        return int(found.uses)

    async def certificates(self, token: str) -> list[Certificate]:
        """The records of what was issued for a join token."""
        request = authority_pb.ListCertificatesRequest(page_size=1000, join_token=token)
        async with self.authority() as stub:
            answer = await stub.ListCertificates(request, timeout=CALL_SECONDS)
        assert not answer.next_page_token
        return list(answer.certificates)

    async def start_rotation(self) -> Rotation:
        """Starts a rotation."""
        async with self.authority() as stub:
            answer = await stub.StartRotation(authority_pb.StartRotationRequest(), timeout=CALL_SECONDS)
        rotation = answer.rotation
        assert isinstance(rotation, Rotation)
        return rotation

    async def cancel_rotation(self) -> None:
        """Turns the rotation back."""
        async with self.authority() as stub:
            await stub.CancelRotation(authority_pb.CancelRotationRequest(), timeout=CALL_SECONDS)

    async def join(self, name: str, secret: str, bundle: bytes = b"") -> Member:
        """Has somebody join with a token; see token_door() for the bundle."""
        async with self.token_door(bundle) as channel:
            files, record = await issue(channel, name, secret)
        return Member(self, name, files, record)

    async def refusal(self, files: IdentityFiles) -> Refusal | None:
        """Calls with an identity over a new connection. Returns code and reason if that is refused."""
        async with connect(self.address, files) as channel:
            return await refused(call(channel))


@asynccontextmanager
async def running(folder: Path, **settings: str) -> AsyncIterator[KernelProcess]:
    """Has a kernel for the length of the block, with settings of the section identity, and all it keeps in a folder."""
    environment = {f"SIRA_IDENTITY_{name.upper()}": value for name, value in settings.items()}
    with up(folder, environment={"SIRA_LOG_LEVEL": "error", **environment}) as process:
        ready = await asyncio.to_thread(process.json)
        assert ready["trustDomain"] == TRUST_DOMAIN
        yield KernelProcess(process, ready["addresses"][0], ready["tokenAddresses"][0], ready["rootSha256"], folder)


async def call(channel: aio.Channel, **options: Any) -> None:
    """A call that everybody with an identity may make."""
    stub: Any = KernelServiceStub(channel)
    await stub.GetStatus(GetStatusRequest(), timeout=CALL_SECONDS, **options)


async def refused(made: Awaitable[object]) -> Refusal | None:
    """Awaits a call. Returns code and reason if it is refused."""
    try:
        await made
    except aio.AioRpcError as error:
        return error.code(), reason_of(error)
    return None


async def issue(channel: aio.Channel, name: str, secret: str = "") -> tuple[IdentityFiles, Certificate]:
    """Has a certificate issued, for a join token or what the connection shows. Returns it and its record."""
    key, csr = signing_request.make(identity(name))
    stub: Any = IdentityServiceStub(channel)
    request = pb.IssueCertificateRequest(csr=csr, join_token=secret)
    answer: pb.IssueCertificateResponse = await stub.IssueCertificate(request, timeout=CALL_SECONDS)
    return _files(key, answer), answer.certificate


class Member:
    """Somebody with an identity, who follows the trust bundle and renews when another authority issues.

    Attributes:
        files: what it holds.
        record: of its certificate.
        channel: the newest connection, with what it holds.
        changed: set when what it holds has changed.
        calling: held while a call is made: what is new is in use, and can be acknowledged, only when no call that was
            begun with the old is under way.
    """

    def __init__(self, kernel: KernelProcess, name: str, files: IdentityFiles, record: Certificate) -> None:
        self.kernel = kernel
        self.name = name
        self.files = files
        self.record = record
        self.channel = connect(kernel.address, files)
        self.changed = asyncio.Event()
        self.calling = asyncio.Lock()
        self._old: list[aio.Channel] = []

    async def move(self, kernel: KernelProcess) -> None:
        """Connects to the kernel that has come back."""
        await self.close()
        self.kernel = kernel
        self.channel = connect(kernel.address, self.files)

    async def renew(self) -> None:
        """Has a new certificate issued to it over the connection that it has, and connects with that."""
        files, self.record = await issue(self.channel, self.name)
        await self._use(files)

    async def states(self) -> AsyncGenerator[pb.WatchTrustBundlesResponse]:
        """Yields each state of the trust bundle; it is put to use and acknowledged when the next one is asked for.

        Always on the newest connection: a watch ends when the certificate that it began with is not trusted any more.
        """
        while True:
            opened = self.channel
            stub: Any = IdentityServiceStub(opened)
            watch = stub.WatchTrustBundles(timeout=120)
            try:
                await watch.write(pb.WatchTrustBundlesRequest(open=pb.WatchOpen(acknowledges=True)))
                while opened is self.channel:
                    state = await watch.read()
                    assert isinstance(state, pb.WatchTrustBundlesResponse), "it goes on for ever"
                    yield state
                    await self.take(state)
                    await watch.write(pb.WatchTrustBundlesRequest(ack=pb.WatchAck(revision=state.revision)))
            finally:
                watch.cancel()

    async def take(self, state: pb.WatchTrustBundlesResponse) -> None:
        """Puts a state to use."""
        if state.issuing_authority != self.record.authority:
            await self.renew()
            return
        files = IdentityFiles(self.files.svid, self.files.key, _pem(state.bundle.x509_authorities))
        if files != self.files:
            await self._use(files)

    async def until(self, done: Callable[[authority_pb.IdentityStatus], bool]) -> authority_pb.IdentityStatus:
        """Follows until the kernel is as it should be; the state that showed it is not acknowledged."""
        async with aclosing(self.states()) as states:
            async for _ in states:
                status = await self.kernel.status()
                if done(status):
                    return status
        raise AssertionError("it goes on for ever")

    async def close(self) -> None:
        """Disconnects."""
        await asyncio.gather(*(opened.close() for opened in (self.channel, *self._old)))
        self._old.clear()

    async def _use(self, files: IdentityFiles) -> None:
        opened = connect(self.kernel.address, files)
        async with asyncio.timeout(CALL_SECONDS):
            await opened.channel_ready()
        self._old.append(self.channel)
        self.files, self.channel = files, opened
        async with self.calling:
            self.changed.set()


def rotated(status: authority_pb.IdentityStatus) -> bool:
    """Whether no rotation is under way."""
    return not status.HasField("rotation")


def _files(key: ec.EllipticCurvePrivateKey, answer: pb.IssueCertificateResponse) -> IdentityFiles:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return IdentityFiles(svid=_pem(answer.chain), key=private, bundle=_pem(answer.bundle.x509_authorities))


def _pem(certificates: Any) -> bytes:
    return x509_svid.to_pem([x509_svid.read_der(der) for der in certificates])
