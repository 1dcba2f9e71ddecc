"""Certificates are issued as asked for, as far as that goes, and each has a record."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from sira.identity.v1.certificate_pb2 import Certificate

from sira_grpc.errors import CredentialRevoked, IdentityNotAllowed, InvalidField, StoreUnavailable
from sira_grpc.identity.issuer import Issued
from sira_grpc.svid import signing_request, x509_svid
from sira_grpc.svid.spiffe_id import SpiffeId
from tests.clocks import NANOS
from tests.unit.identity.world import API, DOMAIN, ISSUING, NODE, PUBLISHING, SERVICES, WEB, World

WEB_DNS = f"web.default.{DOMAIN}"
OPERATOR = f"spiffe://{DOMAIN}/operator/ann"


def life(record: Certificate) -> float:
    return (record.expire_time.ToNanoseconds() - record.issue_time.ToNanoseconds()) / NANOS


def csr(identity: str, *names: x509.GeneralName, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    """A request as signing_request does not make it."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    wanted = [x509.UniformResourceIdentifier(identity), *names] if identity else list(names)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if wanted:
        builder = builder.add_extension(x509.SubjectAlternativeName(wanted), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


async def sent(world: World, request: bytes, **more: Any) -> Issued:
    arguments = {"join_token": "", "ttl": None, "supersedes": "", "caller": None, "actor": "10.1.1.1"} | more
    return await world.identity.issuer.certificate(request, **arguments)


async def test_the_record_says_what_was_issued_to_whom_and_why(world: World) -> None:
    secret = await world.token(NODE, delegated=[SERVICES], dns_names=["n1.example.org"])
    key, request = signing_request.make(SpiffeId.parse(NODE), ["n1.example.org"])
    issued = await sent(world, request, join_token=secret)
    record = issued.record
    leaf, *above = (x509_svid.read_der(der) for der in issued.chain)
    authority = world.identity._opened.keyring.issuing()
    assert leaf.public_key() == key.public_key()
    assert above == list(authority.intermediates)
    assert record.serial == format(leaf.serial_number, "x")
    assert (record.identity, record.authority, record.requester) == (NODE, authority.id, "10.1.1.1")
    assert record.join_token == f"joinTokens/{secret.partition('.')[0]}"
    assert [*record.delegated, *record.dns_names, record.superseded_by] == [SERVICES, "n1.example.org", ""]
    assert not record.HasField("max_ttl")
    assert record.issue_time.ToNanoseconds() == world.clock.time_ns()
    assert record.expire_time.ToNanoseconds() == leaf.not_valid_after_utc.timestamp() * NANOS
    assert issued.renew_time.ToNanoseconds() == world.clock.time_ns() + 1800 * NANOS
    assert world.record(record.serial) == record
    assert world.identity.issuer.issued == 3  # with those that the kernel holds


@pytest.mark.parametrize(
    ("asked", "granted", "life_s"),
    [
        (None, None, 3600),
        (60, None, 60),
        (86_400, None, 86_400),
        (86_401, None, 86_400),
        (2_592_000, None, 86_400),
        (None, 600, 600),
        (300, 600, 300),
        (900, 600, 600),
        (None, 7200, 3600),
        (7000, 7200, 7000),
        (None, 2_592_000, 3600),
        (2_592_000, 2_592_000, 86_400),
    ],
)
async def test_how_long_it_is_valid(world: World, asked: float | None, granted: int | None, life_s: int) -> None:
    fields: dict[str, Any] = {"certificate_ttl": {"seconds": granted}} if granted else {}
    held = await world.join(ttl=asked, **fields)
    assert life(held.record) == life_s
    # Its holder gets no more when it renews.
    assert life((await world.renew(held, ttl=2_592_000)).record) == min(granted or 86_400, 86_400)


async def test_the_name_of_a_service_comes_first_and_once(world: World) -> None:
    held = await world.join(WEB, "b.org", WEB_DNS, "a.org", "B.org", dns_names=["a.org", "b.org"])
    assert held.record.dns_names == [WEB_DNS, "b.org", "a.org"]
    node = await world.join(NODE, "b.org", dns_names=["b.org"])
    assert node.record.dns_names == ["b.org"]


class TestSuperseding:
    """What was renewed counts no more."""

    async def test_a_renewal_ends_what_it_renews(self, world: World) -> None:
        held = await world.join(NODE, "n1.org", dns_names=["n1.org"], delegated=[SERVICES])
        before = world.live()
        renewed = await world.issue(NODE, "n1.org", caller=world.caller(held))
        assert world.record(held.serial).superseded_by == renewed.serial
        assert renewed.record.delegated == held.record.delegated == [SERVICES]
        assert renewed.record.allowed_dns_names == ["n1.org"]
        assert renewed.record.join_token == held.record.join_token
        assert renewed.record.requester == NODE
        assert world.live() == before
        world.caller(held)  # until it expires it is still good for calls

    async def test_what_was_never_received_is_given_up_too(self, world: World) -> None:
        held = await world.join()
        lost = [await world.renew(held) for _ in range(3)]
        last = await world.renew(held)
        for one in (held, lost[-1]):
            assert world.record(one.serial).superseded_by == last.serial
        assert world.live() == 3
        await world.renew(last)
        assert world.live() == 3

    async def test_a_long_chain_is_followed(self, world: World) -> None:
        held = [await world.join()]
        for _ in range(5):
            held.append(await world.renew(held[-1]))
        last = await world.renew(held[0])
        assert [world.record(one.serial).superseded_by for one in held] == [last.serial] * 6
        assert world.live() == 3

    async def test_somebody_else_of_the_same_identity_is_left_alone(self, world: World) -> None:
        one, other = await world.join(), await world.join()
        await world.renew(one)
        assert not world.record(other.serial).superseded_by

    async def test_another_one_may_be_named_where_the_caller_has_not_its_identity(self, world: World) -> None:
        node = world.caller(await world.join(NODE, delegated=[SERVICES]))
        first = await world.issue(WEB, caller=node)
        second = await world.issue(WEB, caller=node, supersedes=first.serial)
        assert world.record(first.serial).superseded_by == second.serial
        foreign = await world.issue(API, caller=node)
        await world.issue(WEB, caller=node, supersedes=foreign.serial)
        await world.issue(WEB, caller=node, supersedes="abc")
        assert not world.record(foreign.serial).superseded_by
        assert not world.record(second.serial).superseded_by

    async def test_a_renewal_that_failed_has_ended_nothing(self, world: World) -> None:
        held = await world.join()
        world.store.failures.append(StoreUnavailable("full"))
        with pytest.raises(StoreUnavailable):
            await world.renew(held)
        assert not world.record(held.serial).superseded_by
        assert world.live() == 3

    async def test_two_renewals_at_once_leave_one_that_counts(self, world: World) -> None:
        held = await world.join()
        await asyncio.gather(*(world.renew(held) for _ in range(8)))
        assert world.live() == 3


class TestRevoked:
    """Nobody renews out of a revocation."""

    async def test_a_renewal_that_was_planned_before_is_revoked_too(self, world: World) -> None:
        held = await world.join()
        world.store.shut()
        renewing = asyncio.create_task(world.renew(held))
        await world.store.arrived()
        world.clock.advance(0.001)
        revoking = asyncio.create_task(world.identity.records.revoke_identity(WEB, cause="", actor=""))
        await world.turns()
        world.store.open()
        renewed = await renewing
        assert await revoking == 1
        with pytest.raises(CredentialRevoked):
            world.caller(renewed)
        assert world.record(renewed.serial).HasField("revoke_time")
        assert world.live() == 2

    async def test_a_renewal_that_comes_while_it_is_written_is_refused(self, world: World) -> None:
        held = await world.join()
        caller = world.caller(held)
        world.store.shut()
        revoking = asyncio.create_task(world.identity.records.revoke_identity(WEB, cause="", actor=""))
        await world.store.arrived()
        world.clock.advance(0.001)
        renewing = asyncio.create_task(world.issue(WEB, caller=caller))
        await world.turns()
        world.store.open()
        assert await revoking == 1
        with pytest.raises(CredentialRevoked):
            await renewing
        with pytest.raises(CredentialRevoked):
            world.caller(held)
        assert world.live() == 2

    async def test_a_renewal_that_meets_the_revocation_of_its_serial_number_is_refused(self, world: World) -> None:
        held = await world.join()
        world.store.shut()
        revoking = asyncio.create_task(world.identity.records.revoke_serial(held.serial, cause="", actor=""))
        await world.store.arrived()
        renewing = asyncio.create_task(world.renew(held))
        await world.store.arrived()
        world.store.open()
        assert await revoking == 1
        with pytest.raises(CredentialRevoked):
            await renewing
        assert world.live() == 2

    async def test_where_the_revocation_is_not_written_nothing_has_changed(self, world: World) -> None:
        held = await world.join()
        world.store.failures.append(StoreUnavailable("full"))
        with pytest.raises(StoreUnavailable):
            await world.identity.records.revoke_identity(WEB, cause="", actor="")
        await world.renew(held)


def wide(count: int) -> list[x509.GeneralName]:
    return [x509.DNSName(f"n{number}.org") for number in range(count)]


@pytest.mark.parametrize(
    ("request_", "rule"),
    [
        (b"rubbish", "is no PKCS #10 certificate signing request"),
        (csr(""), "must ask for a subject alternative name"),
        (csr("", x509.DNSName("a.org")), "must ask for one URI name"),
        (csr(WEB, x509.UniformResourceIdentifier(API)), "must ask for one URI name, the SPIFFE ID, and asks for 2"),
        (csr("https://web"), "does not begin with spiffe://"),
        (csr(f"spiffe://{DOMAIN}"), "must ask for a SPIFFE ID with a path"),
        (csr(WEB, *wide(65)), "must ask for at most 64 DNS names"),
        (csr(WEB)[:-1] + b"\x00", "must be signed by the key that it is for|is no PKCS #10"),
        (csr(WEB, x509.DNSName("a\x00.example.org")), "asks for 'a\\\\x00.example.org', which is no DNS name"),
        (csr(WEB, x509.DNSName("a b.example.org")), "which is no DNS name"),
        (csr(WEB, x509.DNSName(".example.org")), "which is no DNS name"),
        (csr(WEB, x509.DNSName("*")), "which is no DNS name"),
        (csr(WEB, x509.DNSName("*.*.example.org")), "which is no DNS name"),
        (csr(WEB, x509.DNSName("a.*.example.org")), "which is no DNS name"),
        (csr(WEB, x509.DNSName("10.1.2.3")), "which is no DNS name"),
        (csr(WEB, x509.DNSName("x" * 64 + ".example.org")), "which is no DNS name"),
        (csr(WEB, x509.DNSName("-x.example.org")), "which is no DNS name"),
    ],
)
async def test_requests_that_are_refused(world: World, request_: bytes, rule: str) -> None:
    # By an operator: it is the request that is wrong.
    caller = world.caller(await world.join(OPERATOR))
    with pytest.raises(InvalidField, match=rule) as caught:
        await sent(world, request_, caller=caller)
    assert [violation.field for violation in caught.value.violations] == ["csr"]
    assert world.live() == 3


async def test_what_else_a_request_asks_for_is_ignored(world: World) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [
        x509.UniformResourceIdentifier(WEB),
        x509.IPAddress(ip_address("10.1.2.3")),
        x509.RFC822Name("root@example.org"),
    ]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")])
    )
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    request = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    issued = await sent(world, request, join_token=await world.token(WEB))
    leaf = x509_svid.read_der(issued.chain[0])
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in found] == [WEB, WEB_DNS]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value == "web"


async def test_whoever_issues_at_the_time_issues(world: World) -> None:
    old = world.issuing
    held = await world.join()
    await world.identity.rotator.start()
    assert (await world.renew(held)).record.authority == old
    await world.identity.rotator.advance(PUBLISHING)
    assert world.stage == ISSUING
    renewed = await world.renew(held)
    assert renewed.record.authority == world.issuing != old
    assert renewed.chain[1] == world.identity._opened.keyring.issuing().issuer


async def test_a_stage_that_begins_while_something_is_issued(world: World) -> None:
    held = await world.join()
    await world.identity.rotator.start()
    world.store.shut()
    advancing = asyncio.create_task(world.identity.rotator.advance(PUBLISHING))
    await world.store.arrived()
    renewing = asyncio.create_task(world.renew(held))
    await world.store.arrived()
    world.store.open()
    await advancing
    renewed = await renewing
    # By the new one: the old one issues nothing any more once the stage is in the store.
    rotation = world.identity.rotator.describe()
    assert rotation is not None
    assert renewed.record.authority == rotation.to_authority


async def test_a_jwt_says_what_was_asked_for(world: World) -> None:
    held = await world.join()
    token, identity, now = world.identity.issuer.jwt("", ["a", "b"], ttl=30, caller=world.caller(held))
    assert (str(identity), now) == (WEB, world.clock.time_ns() // NANOS)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims == {"sub": WEB, "aud": ["a", "b"], "iat": now, "exp": now + 30}
    header = jwt.get_unverified_header(token)
    assert header["kid"] == world.identity._opened.keyring.issuing().record.jwt_key_id
    assert (header["alg"], header["typ"]) == ("ES256", "JWT")


@pytest.mark.parametrize(
    "identity", ["x", f"spiffe://{DOMAIN}/..", f"spiffe://{DOMAIN}/a/.", f"spiffe://{'d' * 256}/a"]
)
async def test_a_jwt_for_no_spiffe_id_is_refused(world: World, identity: str) -> None:
    caller = world.caller(await world.join(OPERATOR))
    with pytest.raises(InvalidField) as caught:
        world.identity.issuer.jwt(identity, ["a"], ttl=30, caller=caller)
    assert [violation.field for violation in caught.value.violations] == ["identity"]


async def test_a_jwt_for_another_trust_domain_is_refused(world: World) -> None:
    caller = world.caller(await world.join(OPERATOR))
    with pytest.raises(IdentityNotAllowed):
        world.identity.issuer.jwt("spiffe://other.test/x", ["a"], ttl=30, caller=caller)
