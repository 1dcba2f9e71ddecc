"""A kernel for the tests of the agent: its identity service alone, over real gRPC with real TLS, led by the test."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Self, cast

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sira.identity.v1.certificate_pb2 import Certificate
from sira.identity.v1.identity_service_pb2 import (
    GetTrustBundleRequest,
    GetTrustBundleResponse,
    IssueCertificateRequest,
    IssueCertificateResponse,
    IssueJwtRequest,
    IssueJwtResponse,
    WatchTrustBundlesRequest,
    WatchTrustBundlesResponse,
)
from sira.identity.v1.identity_service_pb2_grpc import (
    IdentityServiceServicer,
    add_IdentityServiceServicer_to_server,
)
from sira.identity.v1.trust_bundle_pb2 import TrustBundle

from sira_grpc.errors import (
    CredentialExpired,
    CredentialRevoked,
    IdentityNotAllowed,
    JoinTokenInvalid,
    SiraError,
    Unauthenticated,
)
from sira_grpc.rpc.call import Context
from sira_grpc.rpc.status import status_of
from sira_grpc.svid import jwt_svid, signing_request, x509_svid
from sira_grpc.svid.join_secret import JoinSecret, fingerprint
from sira_grpc.svid.spiffe_id import SpiffeId, matches
from sira_grpc.times import timestamp
from tests.unit.agent.authority_double import AuthorityDouble, bundle_of, pem_key

DOMAIN = "example.test"


@dataclass
class Token:
    """A join token, and whom the nodes that join with it may speak for."""

    digest: bytes
    identity: str
    delegated: list[str]
    uses: int = 1


@dataclass
class Watcher:
    """An open watch, and what it has acknowledged."""

    acknowledged: list[int] = field(default_factory=list)


class KernelDouble(IdentityServiceServicer):
    """An async context manager: inside the block both doors are open.

    Attributes:
        ttl: seconds that certificates are valid.
        renew_after: seconds after which they are to be renewed.
        issued: every certificate, as identity, DNS names and serial number, the oldest first.
        superseded: what each of them was issued in place of.
        refusing: called with each certificate's identity; returns what it is refused with.
        now: Unix seconds.
        left_alone: how often the last watcher left.
    """

    def __init__(self) -> None:
        self.authorities = [AuthorityDouble(DOMAIN)]
        self.issuing = self.authorities[0]
        self.federated: list[TrustBundle] = []
        self.revoked: set[str] = set()
        self.ttl, self.renew_after = 3600.0, 1800.0
        self.jwt_ttl = 300.0
        self.issued: list[tuple[str, tuple[str, ...], str]] = []
        self.superseded: list[str] = []
        self.jwts: list[tuple[str, tuple[str, ...]]] = []
        self.refusing: Callable[[str], SiraError | None] = lambda identity: None
        self.now = time.time
        self.watchers: list[Watcher] = []
        self.revision = 1
        self.left_alone = 0
        self.door = self.token_door = ""
        self._changed = asyncio.Condition()
        self._tokens: dict[str, Token] = {}
        self._delegated: dict[str, list[str]] = {}
        self._servers: list[grpc.aio.Server] = []
        self._ports = [0, 0]
        self._stopping = asyncio.Event()
        self._served: AuthorityDouble | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Opens the doors: at the same ports as before, if it was open before."""
        self._stopping.clear()
        options = (("grpc.so_reuseport", 0),)
        self._servers = [grpc.aio.server(options=options), grpc.aio.server(options=options)]
        for index, mutual in enumerate((True, False)):
            server = self._servers[index]
            add_IdentityServiceServicer_to_server(self, server)
            credentials = grpc.dynamic_ssl_server_credentials(
                self._certificate(), lambda: cast(Any, self._certificate()), require_client_authentication=mutual
            )
            self._ports[index] = server.add_secure_port(f"127.0.0.1:{self._ports[index]}", credentials)
            await server.start()
        self.door, self.token_door = (f"127.0.0.1:{port}" for port in self._ports)

    async def stop(self) -> None:
        """Closes the doors."""
        self._stopping.set()
        await self._notify()
        for server in self._servers:
            await server.stop(0.2)

    def token(self, identity: str = "node/one", *delegated: str, uses: int = 1) -> JoinSecret:
        """Makes a join token."""
        token, secret = secrets.token_hex(5), secrets.token_hex(20)
        self._tokens[token] = Token(
            hashlib.sha256(bytes.fromhex(secret)).digest(),
            f"spiffe://{DOMAIN}/{identity}",
            [f"spiffe://{DOMAIN}/{one}" for one in delegated],
            uses,
        )
        return JoinSecret(token, secret, fingerprint(self.authorities[0].root))

    async def publish(self) -> int:
        """Tells the watchers how things are now. Returns the revision."""
        self.revision += 1
        await self._notify()
        return self.revision

    async def acknowledged(self, revision: int) -> None:
        """Returns once every watcher has acknowledged a revision, and there is one."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self.watchers and all(revision in watcher.acknowledged for watcher in self.watchers)
            )

    async def until(self, condition: Callable[[], object]) -> None:
        """Returns once a condition holds of what the kernel has seen."""
        async with self._changed:
            await self._changed.wait_for(condition)

    async def watched(self) -> None:
        """Returns once somebody watches."""
        await self.until(lambda: self.watchers)

    def certificates(self, identity: str) -> list[str]:
        """The serial numbers of all that an identity was issued."""
        return [serial for given, _, serial in self.issued if given == f"spiffe://{DOMAIN}/{identity}"]

    @property
    def bundle(self) -> TrustBundle:
        return bundle_of(DOMAIN, *self.authorities, sequence=self.revision)

    async def IssueCertificate(self, request: IssueCertificateRequest, context: Context) -> IssueCertificateResponse:
        asked = signing_request.read(request.csr)
        identity = asked.identity
        if request.join_token:
            problem = self._take(JoinSecret.parse(request.join_token), identity)
        else:
            problem = self._check(context, identity) or self.refusing(str(identity))
        if problem is not None:
            await self._refuse(context, problem)
        key = cast(ec.EllipticCurvePublicKey, asked.public_key)
        names = [x509.DNSName(name) for name in (*asked.dns_names, identity.dns_name) if name]
        authority, now = self.issuing, self.now()
        leaf = authority.leaf(identity, names, key, now=now, ttl=self.ttl)
        serial = x509_svid.serial_of(leaf)
        self.issued.append((str(identity), asked.dns_names, serial))
        self.superseded.append(request.supersedes)
        await self._notify()
        return IssueCertificateResponse(
            certificate=Certificate(serial=serial, identity=str(identity), authority=authority.id),
            chain=[x509_svid.to_der(leaf), x509_svid.to_der(authority.intermediate)],
            bundle=self.bundle,
            renew_time=timestamp(round((now + self.renew_after) * 1e9)),
        )

    async def IssueJwt(self, request: IssueJwtRequest, context: Context) -> IssueJwtResponse:
        identity = SpiffeId.parse(request.identity)
        problem = self._check(context, identity) or self.refusing(str(identity))
        if problem is not None:
            await self._refuse(context, problem)
        self.jwts.append((str(identity), tuple(request.audiences)))
        now, authority = int(self.now()), self.issuing
        token = jwt_svid.sign(
            authority.jwt_key, authority.id, identity, list(request.audiences), now=now, ttl=int(self.jwt_ttl)
        )
        return IssueJwtResponse(
            token=token,
            identity=str(identity),
            issue_time=timestamp(now * 10**9),
            expire_time=timestamp(round((now + self.jwt_ttl) * 1e9)),
        )

    async def GetTrustBundle(self, request: GetTrustBundleRequest, context: Context) -> GetTrustBundleResponse:
        return GetTrustBundleResponse(bundle=self.bundle)

    async def WatchTrustBundles(
        self, requests: AsyncIterator[WatchTrustBundlesRequest], context: Context
    ) -> AsyncIterator[WatchTrustBundlesResponse]:
        problem = self._credential(context)
        if problem is not None:
            await self._refuse(context, problem)
        opening = await anext(requests)
        assert opening.open.acknowledges
        watcher = Watcher()
        reading = asyncio.create_task(self._read(requests, watcher))
        self.watchers.append(watcher)
        try:
            while not self._stopping.is_set():
                sent = self.revision
                yield self._state()
                async with self._changed:
                    while self.revision == sent and not self._stopping.is_set():
                        await self._changed.wait()
        finally:
            self.watchers.remove(watcher)
            self.left_alone += not self.watchers
            reading.cancel()
            await self._notify()

    def _state(self) -> WatchTrustBundlesResponse:
        serials = [int(serial, 16) for serial in sorted(self.revoked)]
        return WatchTrustBundlesResponse(
            revision=self.revision,
            bundle=self.bundle,
            federated=self.federated,
            issuing_authority=self.issuing.id,
            crls=[authority.crl(serials, now=self.now()) for authority in self.authorities] if serials else [],
        )

    async def _read(self, requests: AsyncIterator[WatchTrustBundlesRequest], watcher: Watcher) -> None:
        async for request in requests:
            watcher.acknowledged.append(request.ack.revision)
            await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _take(self, secret: JoinSecret, identity: SpiffeId) -> SiraError | None:
        token = self._tokens.get(secret.token)
        if token is None or token.digest != secret.digest or not token.uses:
            return JoinTokenInvalid("the join token is unknown, expired or used up, or its secret is wrong")
        if token.identity != str(identity):
            return IdentityNotAllowed(f"the join token is not good for {identity}")
        token.uses -= 1
        self._delegated[str(identity)] = token.delegated
        return None

    def _credential(self, context: Context) -> SiraError | None:
        """What is wrong with the certificate of a connection."""
        pem = next(iter(context.auth_context().get("x509_pem_cert", ())), b"")
        if not pem:
            return Unauthenticated("a client certificate is needed")
        certificate = x509_svid.read_pem(pem)[0]
        if x509_svid.serial_of(certificate) in self.revoked:
            return CredentialRevoked("the certificate was revoked")
        if certificate.not_valid_after_utc.timestamp() < self.now():
            return CredentialExpired("the certificate has expired")
        return None

    def _check(self, context: Context, identity: SpiffeId) -> SiraError | None:
        problem = self._credential(context)
        if problem is not None:
            return problem
        caller = next(iter(context.auth_context()["peer_spiffe_id"])).decode()
        covered = caller == str(identity) or any(matches(one, identity) for one in self._delegated.get(caller, ()))
        return None if covered else IdentityNotAllowed(f"{caller} may not have {identity} issued")

    @staticmethod
    async def _refuse(context: Context, problem: SiraError) -> None:
        status = status_of(problem)
        await context.abort(status.code, status.details, status.trailing_metadata)

    def _certificate(self) -> grpc.ServerCertificateConfiguration:
        """The member's own certificate, by the authority that issues now; with its root, for those who join."""
        key = ec.generate_private_key(ec.SECP256R1())
        authority = self.issuing
        member = SpiffeId.parse(f"spiffe://{DOMAIN}/member/one")
        leaf = authority.leaf(member, [x509.DNSName(f"kernel.{DOMAIN}")], key.public_key(), now=time.time(), ttl=3600)
        chain = x509_svid.to_pem([leaf, authority.intermediate, authority.root])
        roots = x509_svid.to_pem([one.root for one in self.authorities])
        return grpc.ssl_server_certificate_configuration([(pem_key(key), chain)], root_certificates=roots)
