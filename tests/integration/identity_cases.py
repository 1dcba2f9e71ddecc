"""What each RPC of identity must refuse: one entry for every RPC, found by its full name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from sira.identity.v1 import authority_service_pb2 as authority
from sira.identity.v1 import identity_service_pb2 as pb
from sira.identity.v1.federated_bundle_pb2 import FederatedBundle
from sira.identity.v1.join_token_pb2 import JoinToken
from sira.identity.v1.rotation_pb2 import RotationStage

from sira_grpc.svid import bundle_document, signing_request, x509_svid
from sira_grpc.svid.spiffe_id import SpiffeId
from tests.integration.identity_kernel import DOMAIN, authority_stub, identity_stub
from tests.integration.registry_kernel import Running
from tests.integration.registry_world import Case, Code, broken, refused
from tests.unit.svid.authority import Authority

WEB = f"spiffe://{DOMAIN}/ns/default/svc/web"
OTHER = "other.test"
NO_TOKEN = "joinTokens/0123456789"
NOT_IDS = (
    "x",
    "spiffe://",
    f"spiffe://{DOMAIN}",
    f"spiffe://{DOMAIN}/",
    f"spiffe://{DOMAIN}/a//b",
    "spiffe://TD.test/a",
)
DOTTED = (f"spiffe://{DOMAIN}/..", f"spiffe://{DOMAIN}/a/.", f"spiffe://{DOMAIN}/./a")
"""What the pattern of the proto lets through, and the standard does not."""
LONG_ID = f"spiffe://{DOMAIN}/" + "x" * 2048
NOT_DOMAINS = ("Other.test", "a b", "a/b", "x" * 256)
OTHERS_ROOT = Authority()


@dataclass(frozen=True)
class World:
    """What is there before each case: a token that can be used twice, and two bundles of other trust domains."""

    token: str
    secret: str
    revision: int
    page_tokens: Mapping[str, str]


NOBODY = World(token=NO_TOKEN, secret="s", revision=1, page_tokens={"tokens": "t", "certificates": "c", "bundles": "b"})


def other_document(trust_domain: str = OTHER) -> bytes:
    """The bundle of another trust domain."""
    bundle = pb.GetTrustBundleResponse().bundle
    bundle.trust_domain = trust_domain
    bundle.x509_authorities.append(x509_svid.to_der(OTHERS_ROOT.certificate))
    return bundle_document.write(bundle)


async def prepare(kernel: Running) -> World:
    """Fills a kernel."""
    stub = authority_stub(kernel)
    made = [
        await stub.CreateJoinToken(
            authority.CreateJoinTokenRequest(
                join_token=JoinToken(identities=[WEB], max_uses=2), ttl=Duration(seconds=86_400)
            )
        )
        for _ in range(2)
    ]
    for domain in (OTHER, "third.test"):
        request = authority.SetFederatedBundleRequest(trust_domain=domain, document=other_document(domain))
        await stub.SetFederatedBundle(request)
    pages = {
        "tokens": await stub.ListJoinTokens(authority.ListJoinTokensRequest(page_size=1)),
        "certificates": await stub.ListCertificates(authority.ListCertificatesRequest(page_size=1)),
        "bundles": await stub.ListFederatedBundles(authority.ListFederatedBundlesRequest(page_size=1)),
    }
    watching = identity_stub(kernel).WatchTrustBundles()
    await watching.write(pb.WatchTrustBundlesRequest(open=pb.WatchOpen()))
    state = await watching.read()
    watching.cancel()
    return World(
        token=made[0].join_token.name,
        secret=made[0].secret,
        revision=state.revision,
        page_tokens={name: page.next_page_token for name, page in pages.items()},
    )


def csr(identity: str = WEB) -> bytes:
    """A good signing request."""
    return signing_request.make(SpiffeId.parse(identity))[1]


def cases(world: World) -> Mapping[str, list[Case]]:
    """What must be refused, by the full name of the RPC."""
    found: dict[str, list[Case]] = {}
    for name, given in (*_issuing(), *_reading(world)):
        found[f"sira.identity.v1.IdentityService/{name}"] = list(given)
    for name, given in (*_tokens(world), *_certificates(world), *_rotation(), *_federation(world)):
        found[f"sira.identity.v1.AuthorityService/{name}"] = list(given)
    return found


def _durations(kind: Any, low: int, high: int, **fields: Any) -> Iterator[Case]:
    """What every `ttl` refuses."""
    for ttl in (
        Duration(),
        Duration(seconds=-1),
        Duration(seconds=low - 1, nanos=999_999_999),
        Duration(seconds=high, nanos=1),
    ):
        yield broken("ttl", kind(ttl=ttl, **fields))


def _issuing() -> Iterator[tuple[str, Iterator[Case]]]:
    def certificate() -> Iterator[Case]:
        request, good = pb.IssueCertificateRequest, csr()
        yield broken("csr", request())
        yield broken("csr", request(csr=b"x"))
        yield broken("csr", request(csr=good[:-1]))
        yield broken("csr", request(csr=good + b"x"))
        yield broken("csr", request(csr=b"\x30" * 8193))
        yield broken("join_token", request(csr=good, join_token="x" * 257))
        yield broken("supersedes", request(csr=good, supersedes="XYZ"))
        yield broken("supersedes", request(csr=good, supersedes="a" * 41))
        yield from _durations(request, 60, 2_592_000, csr=good)
        for text in ("x", "0123456789", f"{'0' * 10}.{'0' * 40}.{'0' * 64}"):
            yield refused(Code.UNAUTHENTICATED, "JOIN_TOKEN_INVALID", request(csr=good, join_token=text))
        elsewhere = request(csr=csr("spiffe://other.test/x"))
        yield refused(Code.PERMISSION_DENIED, "IDENTITY_NOT_ALLOWED", elsewhere)

    def jwt() -> Iterator[Case]:
        request = pb.IssueJwtRequest
        for identity in (*NOT_IDS, *DOTTED, LONG_ID, f"spiffe://{'d' * 256}/a", f"spiffe://{DOMAIN}/*"):
            yield broken("identity", request(identity=identity, audiences=["a"]))
        for audiences in ([], [""], ["a", "a"], ["x" * 2049], [str(n) for n in range(17)]):
            yield broken("audiences", request(audiences=audiences))
        yield from _durations(request, 10, 3600, audiences=["a"])
        elsewhere = request(identity="spiffe://other.test/x", audiences=["a"])
        yield refused(Code.PERMISSION_DENIED, "IDENTITY_NOT_ALLOWED", elsewhere)

    yield "IssueCertificate", certificate()
    yield "IssueJwt", jwt()


def _reading(world: World) -> Iterator[tuple[str, Iterator[Case]]]:
    def bundle() -> Iterator[Case]:
        for domain in NOT_DOMAINS:
            yield broken("trust_domain", pb.GetTrustBundleRequest(trust_domain=domain))
        unknown = pb.GetTrustBundleRequest(trust_domain="unknown.test")
        yield refused(Code.NOT_FOUND, "TRUST_DOMAIN_NOT_FOUND", unknown)

    def watch() -> Iterator[Case]:
        request = pb.WatchTrustBundlesRequest
        opening = request(open=pb.WatchOpen(acknowledges=True))
        yield broken("", request())
        yield broken("open", request(ack=pb.WatchAck(revision=1)))
        yield broken("open", opening, opening)
        yield broken("", opening, request())
        for revision in (-1, 0):
            yield broken("ack.revision", opening, request(ack=pb.WatchAck(revision=revision)))
        for revision in (world.revision + 1, (1 << 63) - 1):
            yield broken("ack.revision", opening, request(ack=pb.WatchAck(revision=revision)))

    yield "GetTrustBundle", bundle()
    yield "WatchTrustBundles", watch()


def _lists(kind: Any, *foreign: str, **fields: Any) -> Iterator[Case]:
    """What every list refuses; foreign: page tokens of other lists."""
    yield broken("page_size", kind(page_size=-1, **fields))
    yield broken("page_token", kind(page_token="x" * 1025, **fields))
    for token in ("abc", "\u00e9", *foreign):
        yield refused(Code.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", kind(page_token=token, **fields))


def _tokens(world: World) -> Iterator[tuple[str, Iterator[Case]]]:
    def create() -> Iterator[Case]:
        for field, token in _bad_tokens():
            yield broken(f"join_token.{field}", authority.CreateJoinTokenRequest(join_token=token))
        yield broken("join_token", authority.CreateJoinTokenRequest())
        good = JoinToken(identities=[WEB])
        yield from _durations(authority.CreateJoinTokenRequest, 60, 2_592_000, join_token=good)

    def delete() -> Iterator[Case]:
        for name in ("", "x", "joinTokens/", "joinTokens/xyz", f"{NO_TOKEN}0", NO_TOKEN[:-1], NO_TOKEN.upper()):
            yield broken("name", authority.DeleteJoinTokenRequest(name=name))
        missing = authority.DeleteJoinTokenRequest(name=NO_TOKEN)
        yield refused(Code.NOT_FOUND, "JOIN_TOKEN_NOT_FOUND", missing)

    pages = world.page_tokens
    yield "CreateJoinToken", create()
    yield "ListJoinTokens", _lists(authority.ListJoinTokensRequest, pages["certificates"], pages["bundles"])
    yield "DeleteJoinToken", delete()


def _bad_tokens() -> Iterator[tuple[str, JoinToken]]:
    """Tokens that break a rule, and the field."""
    yield "identities", JoinToken()
    yield "identities", JoinToken(identities=[WEB] * 65)
    for pattern in (*NOT_IDS, *DOTTED, LONG_ID, f"spiffe://{DOMAIN}/a*", "spiffe://*/a", "spiffe://other.test/a"):
        yield "identities[1]", JoinToken(identities=[WEB, pattern])
        yield "delegated[0]", JoinToken(identities=[WEB], delegated=[pattern])
    yield "delegated", JoinToken(identities=[WEB], delegated=[WEB] * 65)
    for name in ("A.org", "-a.org", "a..org", "*", "*.", "a.*.org", "a b", "", "x" * 254):
        yield "dns_names[0]", JoinToken(identities=[WEB], dns_names=[name])
    yield "dns_names", JoinToken(identities=[WEB], dns_names=["a.org"] * 65)
    yield "max_uses", JoinToken(identities=[WEB], max_uses=1_000_001)
    for seconds in (-1, 0, 59, 2_592_001):
        yield "certificate_ttl", JoinToken(identities=[WEB], certificate_ttl=Duration(seconds=seconds))
    yield "description", JoinToken(identities=[WEB], description="x" * 257)


def _certificates(world: World) -> Iterator[tuple[str, Iterator[Case]]]:
    def listed() -> Iterator[Case]:
        request = authority.ListCertificatesRequest
        yield from _lists(request, world.page_tokens["tokens"], world.page_tokens["bundles"])
        filtered = request(page_token=world.page_tokens["certificates"], identity=WEB)
        yield refused(Code.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", filtered)
        for identity in (*NOT_IDS, *DOTTED, LONG_ID, f"spiffe://{DOMAIN}/*/..", f"spiffe://{DOMAIN}/a*"):
            yield broken("identity", request(identity=identity))
        for name in ("x", "joinTokens/", "joinTokens/xyz", f"{NO_TOKEN}0"):
            yield broken("join_token", request(join_token=name))

    def revoke() -> Iterator[Case]:
        request = authority.RevokeCertificatesRequest
        yield broken("", request())
        for serial in ("", "G", "A", "0x1", "a" * 41):
            yield broken("serial", request(serial=serial))
        for identity in ("", *NOT_IDS, *DOTTED, LONG_ID, f"spiffe://{DOMAIN}/*"):
            yield broken("identity", request(identity=identity))
        yield broken("cause", request(serial="1", cause="x" * 257))

    yield "ListCertificates", listed()
    yield "RevokeCertificates", revoke()


def _rotation() -> Iterator[tuple[str, Iterator[Case]]]:
    def advance() -> Iterator[Case]:
        request = authority.AdvanceRotationRequest
        yield broken("stage", request())
        yield broken("stage", request(stage=4))  # type: ignore[arg-type]  # no such stage
        yield broken("stage", request(stage=-1))  # type: ignore[arg-type]  # nor this
        for stage in RotationStage.values()[1:]:
            yield refused(Code.FAILED_PRECONDITION, "NO_ROTATION", request(stage=stage))

    def cancel() -> Iterator[Case]:
        yield refused(Code.FAILED_PRECONDITION, "NO_ROTATION", authority.CancelRotationRequest())

    yield "GetIdentityStatus", iter(())
    yield "StartRotation", iter(())
    yield "AdvanceRotation", advance()
    yield "CancelRotation", cancel()


def _federation(world: World) -> Iterator[tuple[str, Iterator[Case]]]:
    def remove() -> Iterator[Case]:
        for name in ("", "x", "federatedBundles/", "federatedBundles/A", "federatedBundles/a/b"):
            yield broken("name", authority.DeleteFederatedBundleRequest(name=name))
        missing = authority.DeleteFederatedBundleRequest(name="federatedBundles/unknown.test")
        yield refused(Code.NOT_FOUND, "TRUST_DOMAIN_NOT_FOUND", missing)

    pages = world.page_tokens
    yield "SetFederatedBundle", _imports()
    yield "ListFederatedBundles", _lists(authority.ListFederatedBundlesRequest, pages["tokens"], pages["certificates"])
    yield "DeleteFederatedBundle", remove()


def _imports() -> Iterator[Case]:
    good = other_document()
    for domain in ("", *NOT_DOMAINS, DOMAIN):
        yield broken("trust_domain", authority.SetFederatedBundleRequest(trust_domain=domain, document=good))
    for document in (b"", b"x", b"[]", b"{}", b'{"keys": []}', good[:-1], bytes(262_145)):
        yield broken("document", authority.SetFederatedBundleRequest(trust_domain=OTHER, document=document))
    for field, endpoint in _bad_endpoints():
        request = authority.SetFederatedBundleRequest(trust_domain=OTHER, document=good, federated_bundle=endpoint)
        yield broken(f"federated_bundle.{field}", request)
    nobody = FederatedBundle(endpoint_url="https://127.0.0.1:1/", endpoint_profile=1)  # type: ignore[arg-type]  # HTTPS_WEB
    unanswered = authority.SetFederatedBundleRequest(trust_domain=OTHER, federated_bundle=nobody)
    yield refused(Code.FAILED_PRECONDITION, "BUNDLE_UNAVAILABLE", unanswered)


def _bad_endpoints() -> Iterator[tuple[str, FederatedBundle]]:
    """Endpoints that break a rule, and the field."""
    url = "https://other.test/"
    for bad in (
        "http://other.test/",
        "https://",
        "https://user@other.test/",
        "https://other.test/#x",
        "https://a b/",
        "x",
    ):
        yield "endpoint_url", FederatedBundle(endpoint_url=bad, endpoint_profile=1)  # type: ignore[arg-type]  # HTTPS_WEB
    yield "endpoint_url", FederatedBundle(endpoint_url=url + "x" * 2048, endpoint_profile=1)  # type: ignore[arg-type]  # HTTPS_WEB
    yield "endpoint_profile", FederatedBundle(endpoint_url=url)
    yield "endpoint_profile", FederatedBundle(endpoint_url=url, endpoint_profile=9)  # type: ignore[arg-type]  # no such profile
    yield "endpoint_profile", FederatedBundle(endpoint_profile=1)  # type: ignore[arg-type]  # HTTPS_WEB
    yield "endpoint_identity", FederatedBundle(endpoint_url=url, endpoint_profile=2)  # type: ignore[arg-type]  # HTTPS_SPIFFE
    yield "endpoint_identity", FederatedBundle(endpoint_identity=f"spiffe://{OTHER}/x")
    for identity in ("x", WEB, f"spiffe://{OTHER}/..", LONG_ID):
        endpoint = FederatedBundle(endpoint_url=url, endpoint_profile=2, endpoint_identity=identity)  # type: ignore[arg-type]  # HTTPS_SPIFFE
        yield "endpoint_identity", endpoint


def accepted(world: World) -> Mapping[str, Message]:
    """A request that each RPC takes of an operator: what is wrong with the others is what is different in them."""
    every: dict[str, Message] = {
        "IssueCertificate": pb.IssueCertificateRequest(csr=csr(), join_token=world.secret, ttl=Duration(seconds=60)),
        "IssueJwt": pb.IssueJwtRequest(identity=WEB, audiences=["a"], ttl=Duration(seconds=10)),
        "GetTrustBundle": pb.GetTrustBundleRequest(trust_domain=OTHER),
        "WatchTrustBundles": pb.WatchTrustBundlesRequest(open=pb.WatchOpen(acknowledges=True)),
        "GetIdentityStatus": authority.GetIdentityStatusRequest(),
        "CreateJoinToken": authority.CreateJoinTokenRequest(
            join_token=JoinToken(identities=[WEB], dns_names=["*.example.org"]), ttl=Duration(seconds=60)
        ),
        "ListJoinTokens": authority.ListJoinTokensRequest(page_token=world.page_tokens["tokens"]),
        "DeleteJoinToken": authority.DeleteJoinTokenRequest(name=world.token),
        "ListCertificates": authority.ListCertificatesRequest(page_token=world.page_tokens["certificates"]),
        "RevokeCertificates": authority.RevokeCertificatesRequest(identity=WEB, cause="c"),
        "StartRotation": authority.StartRotationRequest(),
        "AdvanceRotation": authority.AdvanceRotationRequest(stage=1),  # type: ignore[arg-type]  # PUBLISHING
        "CancelRotation": authority.CancelRotationRequest(),
        "SetFederatedBundle": authority.SetFederatedBundleRequest(trust_domain=OTHER, document=other_document()),
        "ListFederatedBundles": authority.ListFederatedBundlesRequest(page_token=world.page_tokens["bundles"]),
        "DeleteFederatedBundle": authority.DeleteFederatedBundleRequest(name=f"federatedBundles/{OTHER}"),
    }
    return every


IN_A_ROTATION = {"AdvanceRotation", "CancelRotation"}
"""RPCs that take their requests only while the root is rotated."""
