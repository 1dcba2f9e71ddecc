"""What is asked for and refused: with join tokens, by signing requests, and by callers who are not entitled to it."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from grpc import aio
from sira.identity.v1.authority_service_pb2 import DeleteJoinTokenRequest
from sira.identity.v1.authority_service_pb2_grpc import AuthorityServiceStub
from sira.identity.v1.identity_service_pb2 import IssueJwtRequest
from sira.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from sira_grpc.svid import signing_request
from sira_grpc.svid.join_secret import JoinSecret
from sira_grpc.svid.spiffe_id import SpiffeId
from tests.integration.identity_refusals import API, DOMAIN, NODE, PATIENCE, WEB, Attempt, Row, World, told
from tests.integration.identity_refused_callers import NOBODY, OTHER_DOMAIN, REVOKED, TTL

NO_TOKEN = "`UNAUTHENTICATED`, `JOIN_TOKEN_INVALID`"
NOT_ALLOWED = "`PERMISSION_DENIED`, `IDENTITY_NOT_ALLOWED`"
INVALID_FIELD = "`INVALID_ARGUMENT`, `INVALID_FIELD`"
BATCH = f"spiffe://{DOMAIN}/ns/default/svc/batch"
EXAMPLE = "web.example.org"
COVERED = ["*.example.net", f"*.default.{DOMAIN}", f"*.{DOMAIN}"]
"""DNS names of the join tokens: those of the identities of others are not granted even so."""


def asks(identity: str = WEB, *dns_names: str) -> bytes:
    """A good signing request."""
    return signing_request.make(SpiffeId.parse(identity), dns_names)[1]


def joining(
    shown: str,
    gets: str,
    *,
    spoil: Callable[[str], str] = lambda secret: secret,
    csr: Callable[[], bytes] = asks,
    then: Callable[[World, str], Awaitable[Any]] | None = None,
) -> Row:
    """Joining with a token for `web`.

    Args:
        spoil: changes its secret.
        csr: makes the signing request.
        then: what happens to the token before.
    """

    async def arrange(world: World) -> Attempt:
        secret = await world.secret(WEB, ttl=TTL, dns_names=COVERED)
        if then is not None:
            await then(world, secret)
        return lambda: told(world.issue(world.channel(None), csr(), spoil(secret)))

    return Row(f"Join token: {shown}", gets, arrange)


async def deleted(world: World, secret: str) -> None:
    stub: Any = AuthorityServiceStub(world.channel(world.operator))
    name = f"joinTokens/{JoinSecret.parse(secret).token}"
    await stub.DeleteJoinToken(DeleteJoinTokenRequest(name=name), timeout=PATIENCE)


async def expired(world: World, secret: str) -> None:
    world.clock.ahead = TTL + 1


def with_part(index: int, part: str) -> Callable[[str], str]:
    """Exchanges a part of a secret."""

    def spoil(secret: str) -> str:
        parts = secret.split(".")
        parts[index] = part
        return ".".join(parts)

    return spoil


JOINING_REFUSED = [
    joining("malformed", NO_TOKEN, spoil=lambda secret: secret[:-1]),
    joining("unknown", NO_TOKEN, spoil=with_part(0, "0" * 10)),
    joining("with a wrong secret", NO_TOKEN, spoil=with_part(1, "0" * 40)),
    joining("expired", NO_TOKEN, then=expired),
    joining("used up, as one that was stolen", NO_TOKEN, then=lambda w, s: w.issue(w.channel(None), asks(), s)),
    joining("deleted", NO_TOKEN, then=deleted),
    joining("for another identity", NOT_ALLOWED, csr=lambda: asks(API)),
    joining("of another trust domain's identity", NOT_ALLOWED, csr=lambda: asks(OTHER_DOMAIN)),
    joining("with a DNS name that it does not cover", NOT_ALLOWED, csr=lambda: asks(WEB, EXAMPLE)),
    joining("with the DNS name of another service", NOT_ALLOWED, csr=lambda: asks(WEB, f"api.default.{DOMAIN}")),
    joining("with the DNS name of the kernel", NOT_ALLOWED, csr=lambda: asks(WEB, f"kernel.{DOMAIN}")),
]


def requesting(shown: str, gets: str, csr: Callable[[], bytes]) -> Row:
    """A signing request by an operator, who may have everything issued."""

    async def arrange(world: World) -> Attempt:
        channel, request = world.channel(world.operator), csr()
        return lambda: told(world.issue(channel, request))

    return Row(f"Signing request: {shown}", gets, arrange)


def csr(*names: x509.GeneralName, key: Any = None, padding: int = 0) -> bytes:
    """A signing request for any names and key, with something in it that is ignored."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    if padding:
        ignored = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), bytes(padding))
        builder = builder.add_extension(ignored, critical=False)
    key = key or ec.generate_private_key(ec.SECP256R1())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def uris(*names: str) -> list[x509.GeneralName]:
    return [x509.UniformResourceIdentifier(name) for name in names]


def of_size(size: int) -> bytes:
    """A good signing request of so many bytes: signatures are not all of one length."""
    key = ec.generate_private_key(ec.SECP256R1())
    about = size - len(csr(*uris(WEB), key=key, padding=size // 2)) + size // 2
    for attempt in itertools.count():
        made = csr(*uris(WEB), key=key, padding=about + attempt % 5 - 2)
        if len(made) == size:
            return made
    raise AssertionError("it is counted for ever")


def badly_signed() -> bytes:
    """A request of one key with the signature of another."""
    right, other = (csr(*uris(WEB), key=ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
    tampered = right.replace(b"/svc/web", b"/svc/api")
    assert tampered != right != other
    return tampered


REQUESTS_REFUSED = [
    requesting("malformed", INVALID_FIELD, lambda: b"garbage"),
    requesting("changed after it was signed", INVALID_FIELD, badly_signed),
    requesting("RSA of 1,024 bits", INVALID_FIELD, lambda: csr(*uris(WEB), key=rsa.generate_private_key(65537, 1024))),
    requesting("P-521", INVALID_FIELD, lambda: csr(*uris(WEB), key=ec.generate_private_key(ec.SECP521R1()))),
    requesting("without a name", INVALID_FIELD, csr),
    requesting("with a DNS name only", INVALID_FIELD, lambda: csr(x509.DNSName(EXAMPLE))),
    requesting("with two SPIFFE IDs", INVALID_FIELD, lambda: csr(*uris(WEB, API))),
    requesting("of 8 KiB and 1 byte", INVALID_FIELD, lambda: of_size(8193)),
    requesting("for another trust domain", NOT_ALLOWED, lambda: asks(OTHER_DOMAIN)),
    requesting("with the DNS name of another service", NOT_ALLOWED, lambda: asks(WEB, f"api.default.{DOMAIN}")),
]


def issuing(
    shown: str, gets: str, call: Callable[[World, aio.Channel], Awaitable[Any]], *, caller: str = WEB, **fields: Any
) -> Row:
    """A caller with a certificate has something issued."""

    async def arrange(world: World) -> Attempt:
        channel = world.channel(await world.join(caller, **fields))
        return lambda: told(call(world, channel))

    return Row(f"Issuing: {shown}", gets, arrange)


def issue_jwt(channel: aio.Channel, identity: str, **more: Any) -> Awaitable[Any]:
    stub: Any = IdentityServiceStub(channel)
    request = IssueJwtRequest(identity=identity, audiences=[f"spiffe://{DOMAIN}"])
    return stub.IssueJwt(request, timeout=PATIENCE, **more)  # type: ignore[no-any-return]  # stubs are not typed


def with_token(shown: str, call: Callable[[World, aio.Channel, list[tuple[str, str]]], Awaitable[Any]]) -> Row:
    """A caller with nothing but a token has something issued."""

    async def arrange(world: World) -> Attempt:
        token = await world.jwt(await world.join(WEB))
        channel = world.channel(None)
        return lambda: told(call(world, channel, [("authorization", f"Bearer {token}")]))

    return Row(f"Issuing: {shown}", NOBODY, arrange)


async def nobody(world: World) -> Attempt:
    return lambda: told(world.issue(world.channel(None), asks()))


async def revoked(world: World) -> Attempt:
    channel = world.channel(await world.join(WEB))
    await world.revoke(identity=WEB)
    return lambda: told(world.issue(channel, asks()))


ISSUING_REFUSED = [
    issuing("a service, for another service", NOT_ALLOWED, lambda w, channel: w.issue(channel, asks(API))),
    issuing("a service, a token for another service", NOT_ALLOWED, lambda w, channel: issue_jwt(channel, API)),
    issuing("a service, a further DNS name", NOT_ALLOWED, lambda w, channel: w.issue(channel, asks(WEB, EXAMPLE))),
    issuing(
        "a node, for what is not delegated to it",
        NOT_ALLOWED,
        lambda w, channel: w.issue(channel, asks(WEB)),
        caller=NODE,
        delegated=[BATCH],
    ),
    issuing("a node, for another node", NOT_ALLOWED, lambda w, c: w.issue(c, asks(f"{NODE}0")), caller=NODE),
    with_token("a certificate, with nothing but a JWT-SVID", lambda w, c, bearer: w.issue(c, asks(), metadata=bearer)),
    with_token("a JWT-SVID, with nothing but another", lambda w, c, bearer: issue_jwt(c, "", metadata=bearer)),
    Row("Issuing: a certificate, with nothing at all", NOBODY, nobody),
    Row("Issuing: a renewal, after it was revoked", REVOKED, revoked),
]
