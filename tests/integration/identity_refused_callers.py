"""What callers show that is refused: certificates, and JWT-SVIDs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)
from grpc import aio
from sira.identity.v1.authority_service_pb2 import GetIdentityStatusRequest
from sira.identity.v1.authority_service_pb2_grpc import AuthorityServiceStub
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.registry_service_pb2 import (
    CreateNamespaceRequest,
    DrainRequest,
    HoldLeaseRequest,
    RegisterEndpointsRequest,
)
from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub

from tests.integration.identity_refusals import (
    API,
    DOMAIN,
    HANDSHAKE,
    PATIENCE,
    WEB,
    Attempt,
    Held,
    Row,
    World,
    held,
    status,
    told,
)
from tests.unit.svid.authority import CERTIFICATES, SIGNATURE, Authority, Issued

INVALID, EXPIRED, REVOKED = (f"`UNAUTHENTICATED`, `CREDENTIAL_{why}`" for why in ("INVALID", "EXPIRED", "REVOKED"))
NOBODY = "`UNAUTHENTICATED`, `UNAUTHENTICATED`"
DENIED = "`PERMISSION_DENIED`, `PERMISSION_DENIED`"
OTHER_DOMAIN = "spiffe://other.test/ns/default/svc/web"
OTHERS = "namespaces/default/services/api"
BEHIND = 3600.0
TTL = 60
AUTHORIZATION = "authorization"


def forged(shown: str, gets: str, forge: Callable[[World], Held]) -> Row:
    """A certificate that a test issues."""

    async def arrange(world: World) -> Attempt:
        certificate = forge(world)
        return lambda: world.status(certificate)

    return Row(f"Certificate: {shown}", gets, arrange)


def leaf(world: World, *uris: str, **how: Any) -> Held:
    """What the kernel's intermediate vouches for."""
    return held(world.issuer.issue(*uris or (WEB,), **how), world.authority.issuer)


def stranger(world: World) -> Held:
    """Another authority, under the names of the kernel's."""
    root = Authority(now=time.time())
    root.name = world.authority.root.subject
    intermediate = Authority(issuer=root, now=time.time())
    intermediate.name = world.authority.issuer.subject
    return held(intermediate.issue(WEB), intermediate.certificate)


def self_signed(world: World) -> Held:
    alone = Authority("web", now=time.time(), ca=False, uses=(SIGNATURE,), names=_uri(WEB))
    return held(Issued(alone.certificate, alone.key))


def nameless(world: World) -> Held:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, WEB)])
    return held(Issued(world.issuer.sign(key.public_key(), subject=subject), key), world.authority.issuer)


def below_a_leaf(world: World) -> Held:
    """A further intermediate, below the one that may have none."""
    below = Authority("below", issuer=world.issuer, now=time.time())
    return held(below.issue(WEB), below.certificate, world.authority.issuer)


def authoritys(world: World) -> Held:
    """The certificate of an authority, with its key."""
    return held(Issued(world.authority.issuer, world.authority.issuing_key))


def authority_like_leaf(world: World) -> Held:
    """An authority's certificate that would do as a leaf otherwise."""
    return leaf(world, ca=True, path_length=0, uses=(SIGNATURE, CERTIFICATES))


def wrong_key(world: World) -> Held:
    """A stolen certificate, with a key that claims to belong to it: its public half is the certificate's."""
    right = leaf(world)
    certificate = x509.load_pem_x509_certificate(right.chain)
    key = ec.generate_private_key(ec.SECP256R1())
    sec1 = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    own, others = (
        public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        for public in (key.public_key(), _elliptic(certificate.public_key()))
    )
    assert own in sec1
    body = base64.encodebytes(sec1.replace(own, others))
    return Held(right.chain, b"-----BEGIN EC PRIVATE KEY-----\n" + body + b"-----END EC PRIVATE KEY-----\n")


async def misfit(world: World) -> Attempt:
    certificate = wrong_key(world)

    async def attempt() -> str:  # gRPC's client would not even try
        return "it is served" if await world.serves(certificate) else HANDSHAKE

    return attempt


async def outlived(world: World) -> Attempt:
    certificate = await world.join(WEB, ttl=TTL)
    channel = world.channel(certificate)
    await status(channel)
    world.clock.ahead = TTL + 1
    return lambda: told(status(channel))


async def early(world: World) -> Attempt:
    certificate = await world.join(WEB)
    world.clock.ahead = -BEHIND
    return lambda: world.status(certificate)


async def revoked_serial(world: World) -> Attempt:
    certificate = await world.join(WEB)
    await world.revoke(serial=certificate.serial)
    return lambda: world.status(certificate)


async def revoked_identity(world: World) -> Attempt:
    certificate = await world.join(WEB)
    await world.revoke(identity=WEB)
    return lambda: world.status(certificate)


async def retired(world: World) -> Attempt:
    certificate = await world.join(WEB)
    await world.retire_root()
    return lambda: world.status(certificate)


async def retired_meanwhile(world: World) -> Attempt:
    channel = world.channel(await world.join(WEB))
    await status(channel)
    await world.retire_root()
    return lambda: told(status(channel))


async def none(world: World) -> Attempt:
    async def attempt() -> str:
        return "it is served" if await world.serves(None) else HANDSHAKE

    return attempt


async def plaintext(world: World) -> Attempt:
    async def attempt() -> str:
        for address in (*world.kernel.addresses, *world.kernel.token_addresses):
            channel = world.keep(aio.insecure_channel(address))
            assert (await told(status(channel))).startswith("`UNAVAILABLE`")
        return "it is served" if await world.serves(None, encrypted=False) else HANDSHAKE

    return attempt


def as_service(shown: str, call: Callable[[Any], Awaitable[Any]], service: Any = RegistryServiceStub) -> Row:
    """A call with the certificate of `web`, which only others may make."""

    async def arrange(world: World) -> Attempt:
        channel = world.channel(await world.join(WEB))
        return lambda: told(call(service(channel)))

    return Row(f"Certificate of a service, {shown}", DENIED, arrange)


async def hold(stub: Any) -> None:
    stream = stub.HoldLease(timeout=PATIENCE)
    await stream.write(HoldLeaseRequest(endpoints=[endpoint()], allow_missing_service=True))
    await stream.read()
    await stream


def endpoint(service: str = OTHERS) -> Endpoint:
    return Endpoint(name=f"{service}/endpoints/e1", addresses=["127.0.0.1"], port=80)


CERTIFICATES_REFUSED = [
    forged("expired", HANDSHAKE, lambda world: leaf(world, start=-7200, end=-60)),
    forged("not valid yet", HANDSHAKE, lambda world: leaf(world, start=600, end=3600)),
    Row("Certificate: expired since it connected", EXPIRED, outlived),
    Row("Certificate: not valid yet by the kernel's own clock", EXPIRED, early),
    forged("of another authority, with the names of the kernel's", HANDSHAKE, stranger),
    forged("of the kernel's authority, for another trust domain", INVALID, lambda world: leaf(world, OTHER_DOMAIN)),
    forged("self-signed", HANDSHAKE, self_signed),
    forged("without a SPIFFE ID", INVALID, nameless),
    forged("with two SPIFFE IDs", INVALID, lambda world: leaf(world, WEB, API)),
    forged("with a SPIFFE ID of no form", INVALID, lambda world: leaf(world, f"spiffe://{DOMAIN}/ns//svc/web")),
    forged("below an intermediate too many", HANDSHAKE, below_a_leaf),
    forged("that of an authority itself", HANDSHAKE, authoritys),
    forged("that of an authority, for signatures too", INVALID, authority_like_leaf),
    Row("Certificate: with a key that is not its own", HANDSHAKE, misfit),
    Row("Certificate: revoked by serial number", REVOKED, revoked_serial),
    Row("Certificate: revoked by identity", REVOKED, revoked_identity),
    Row("Certificate: of a root that has gone", HANDSHAKE, retired),
    Row("Certificate: of a root that has gone since it connected", INVALID, retired_meanwhile),
    Row("Certificate: none", HANDSHAKE, none),
    Row("Plaintext HTTP/2", HANDSHAKE, plaintext),
    as_service(
        "to register endpoints of another service",
        lambda stub: stub.RegisterEndpoints(
            RegisterEndpointsRequest(endpoints=[endpoint()], allow_missing_service=True), timeout=PATIENCE
        ),
    ),
    as_service("to hold a lease for another service", hold),
    as_service("to drain another service", lambda stub: stub.Drain(DrainRequest(names=[OTHERS]), timeout=PATIENCE)),
    as_service(
        "for what operators do in the registry",
        lambda stub: stub.CreateNamespace(CreateNamespaceRequest(), timeout=PATIENCE),
    ),
    as_service(
        "for what operators do with identities",
        lambda stub: stub.GetIdentityStatus(GetIdentityStatusRequest(), timeout=PATIENCE),
        AuthorityServiceStub,
    ),
]


def bearer(shown: str, gets: str, make: Callable[[World, dict[str, Any]], str]) -> Row:
    """A token that a test signs, made from the claims of a good one."""

    async def arrange(world: World) -> Attempt:
        now = int(time.time())
        token = make(world, {"sub": WEB, "aud": [f"spiffe://{DOMAIN}"], "iat": now, "exp": now + 900})
        return lambda: told(status(world.channel(None), [(AUTHORIZATION, f"Bearer {token}")]))

    return Row(f"JWT-SVID: {shown}", gets, arrange)


def signed(world: World, claims: dict[str, Any], *, kid: str = "", key: Any = None, **changed: Any) -> str:
    """Signs claims as the kernel does."""
    authority = world.authority
    headers = {"kid": kid or authority.record.jwt_key_id, "typ": "JWT"}
    return jwt.encode(claims | changed, key or authority.jwt_key, "ES256", headers=headers)


def unsigned(world: World, claims: dict[str, Any]) -> str:
    return compact({"alg": "none", "kid": world.authority.record.jwt_key_id}, claims) + "."


def symmetric(world: World, claims: dict[str, Any]) -> str:
    """Signed with what everybody knows, as if it were a secret."""
    public = load_der_public_key(world.authority.record.jwt_public_key)
    secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = compact({"alg": "HS256", "typ": "JWT", "kid": world.authority.record.jwt_key_id}, claims)
    return f"{text}.{_base64(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def compact(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))


def metadata(shown: str, gets: str, make: Callable[[str], list[tuple[str, str]]]) -> Row:
    """A good token, shown in a way that is not."""

    async def arrange(world: World) -> Attempt:
        headers = make(await world.jwt(await world.join(WEB)))
        return lambda: told(status(world.channel(None), headers))

    return Row(shown, gets, arrange)


async def expired_token(world: World) -> Attempt:
    token = await world.jwt(await world.join(WEB), ttl=TTL)
    world.clock.ahead = TTL + 1
    return lambda: told(status(world.channel(None), [(AUTHORIZATION, f"Bearer {token}")]))


async def revoked_token(world: World) -> Attempt:
    token = await world.jwt(await world.join(WEB))
    await world.revoke(identity=WEB)
    return lambda: told(status(world.channel(None), [(AUTHORIZATION, f"Bearer {token}")]))


async def retired_token(world: World) -> Attempt:
    token = await world.jwt(await world.join(WEB))
    await world.retire_root()
    return lambda: told(status(world.channel(None), [(AUTHORIZATION, f"Bearer {token}")]))


TOKENS_REFUSED = [
    Row("JWT-SVID: expired", EXPIRED, expired_token),
    bearer(
        "from more than 5 minutes ahead", EXPIRED, lambda w, c: signed(w, c, iat=c["iat"] + 330, exp=c["exp"] + 330)
    ),
    bearer("that does not expire", INVALID, lambda w, c: signed(w, {k: v for k, v in c.items() if k != "exp"})),
    bearer("for another audience", INVALID, lambda w, c: signed(w, c, aud=["spiffe://other.test"])),
    bearer("of another trust domain", INVALID, lambda w, c: signed(w, c, sub=OTHER_DOMAIN)),
    bearer("signed with `alg` none", INVALID, unsigned),
    bearer("signed with HS256 and the public key", INVALID, symmetric),
    bearer("signed with a key that is not known", INVALID, lambda w, c: signed(w, c, kid="0" * 32)),
    bearer(
        "signed with another key than it names",
        INVALID,
        lambda w, c: signed(w, c, key=ec.generate_private_key(ec.SECP256R1())),
    ),
    Row("JWT-SVID: of an identity that was revoked", REVOKED, revoked_token),
    Row("JWT-SVID: of a root that has gone", INVALID, retired_token),
    bearer("garbage", INVALID, lambda w, c: "garbage"),
    metadata("Two `authorization` headers", INVALID, lambda token: [(AUTHORIZATION, f"Bearer {token}")] * 2),
    metadata("`authorization` without `Bearer`", INVALID, lambda token: [(AUTHORIZATION, f"Basic {token}")]),
    metadata("Nothing, at the door for tokens", NOBODY, lambda token: []),
]


def _uri(uri: str) -> tuple[x509.GeneralName, ...]:
    return (x509.UniformResourceIdentifier(uri),)


def _elliptic(key: Any) -> ec.EllipticCurvePublicKey:
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
