"""Callers are who their certificates and tokens say, for as long as those count."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from sira_grpc.errors import CredentialExpired, CredentialInvalid, CredentialRevoked, SiraError
from sira_grpc.identity import callers
from sira_grpc.svid.x509_svid import to_pem
from tests.clocks import NANOS
from tests.unit.identity.world import API, DOMAIN, ISSUING, PUBLISHING, WEB, Held, World
from tests.unit.svid.authority import Authority


def now(world: World) -> float:
    return world.clock.time_ns() / NANOS


def signed(world: World, *, key: Any = None, algorithm: str = "ES256", headers: Any = None, **claims: Any) -> str:
    """A token as the kernel makes it, but for what is given; None leaves a claim out."""
    authority = world.identity._opened.keyring.issuing()
    time = round(now(world))
    whole = {"sub": WEB, "aud": [f"spiffe://{DOMAIN}"], "iat": time, "exp": time + 300, **claims}
    kept = {name: value for name, value in whole.items() if value is not None}
    header = {"kid": authority.record.jwt_key_id, **(headers or {})}
    return jwt.encode(kept, authority.jwt_key if key is None else key, algorithm, headers=header)


async def test_a_certificate_says_who_its_holder_is(world: World) -> None:
    held = await world.join()
    caller = world.caller(held)
    assert (caller.name, str(caller.identity), caller.serial) == (WEB, WEB, held.serial)
    assert caller.issued_ns == held.record.issue_time.ToNanoseconds()
    assert caller.not_after_ns == held.record.expire_time.ToNanoseconds()


async def test_a_token_says_who_its_bearer_is(world: World) -> None:
    caller = world.identity.callers.by_token(world.jwt(await world.join()))
    assert (caller.name, caller.serial) == (WEB, "")
    assert caller.not_after_ns - caller.issued_ns == 300 * NANOS


async def test_a_certificate_counts_until_its_last_second(world: World) -> None:
    held = await world.join(ttl=60)
    world.clock.advance(60)
    caller = world.caller(held)
    world.clock.advance(0.001)
    for known in (lambda: world.caller(held), lambda: world.identity.callers.check(caller)):
        with pytest.raises(CredentialExpired, match="expired"):
            known()


async def test_a_certificate_counts_for_those_whose_clocks_are_behind(world: World) -> None:
    held = await world.join()
    world.clock.advance(-300)
    world.caller(held)
    world.identity.callers._by_certificate.clear()
    world.clock.advance(-1)
    with pytest.raises(CredentialExpired, match="valid only in 1 s"):
        world.caller(held)


async def test_a_token_counts_until_its_end_and_from_before_its_beginning(world: World) -> None:
    token = world.jwt(await world.join(), ttl=60)
    world.clock.advance(59.9)
    world.identity.callers.by_token(token)
    world.clock.advance(0.2)
    with pytest.raises(CredentialExpired):
        world.identity.callers.by_token(token)
    world.identity.callers.by_token(signed(world, iat=round(now(world)) + 299))
    with pytest.raises(CredentialExpired, match="valid only in"):
        world.identity.callers.by_token(signed(world, iat=round(now(world)) + 302))


class TestRevoked:
    """What was revoked counts no more, whatever was remembered."""

    async def test_by_serial_number(self, world: World) -> None:
        one, other = await world.join(), await world.join()
        caller = world.caller(one)
        token = world.jwt(one)
        await world.identity.records.revoke_serial(one.serial, cause="", actor="")
        for show in (lambda: world.caller(one), lambda: world.identity.callers.check(caller)):
            with pytest.raises(CredentialRevoked) as caught:
                show()
            assert caught.value.metadata == {"identity": WEB}
        world.caller(other)
        world.identity.callers.by_token(token)  # a token is revoked with its identity

    async def test_by_identity_with_its_tokens_and_not_what_it_is_issued_afterwards(self, world: World) -> None:
        held, bystander = await world.join(), await world.join(API)
        token = world.jwt(held)
        world.identity.callers.by_token(token)
        world.clock.advance(2)
        await world.identity.records.revoke_identity(WEB, cause="", actor="")
        with pytest.raises(CredentialRevoked):
            world.caller(held)
        with pytest.raises(CredentialRevoked):
            world.identity.callers.by_token(token)
        world.caller(bystander)
        world.clock.advance(1)
        world.caller(await world.join())

    async def test_after_a_restart_too(self, world: World) -> None:
        one, other = await world.join(), await world.join(API)
        await world.identity.records.revoke_serial(one.serial, cause="", actor="")
        await world.identity.records.revoke_identity(API, cause="", actor="")
        await world.restart()
        for held in (one, other):
            with pytest.raises(CredentialRevoked):
                world.caller(held)

    async def test_also_where_the_record_is_gone(self, world: World) -> None:
        held = await world.join()
        world.clock.advance(10)
        await world.identity.records.revoke_identity(WEB, cause="", actor="")
        del world.identity.view.certificates[held.serial]
        with pytest.raises(CredentialRevoked):
            world.caller(held)


async def test_a_root_that_has_gone_vouches_for_nobody(world: World) -> None:
    old = await world.join()
    token = world.jwt(old)
    world.caller(old)
    world.identity.callers.by_token(token)
    generation = world.identity.callers.generation
    await world.identity.rotator.start()
    await world.identity.rotator.advance(PUBLISHING)
    world.caller(old)
    await world.identity.rotator.advance(ISSUING)
    assert world.identity.callers.generation > generation
    with pytest.raises(CredentialInvalid, match=r"no root of td\.test vouches"):
        world.caller(old)
    with pytest.raises(CredentialInvalid, match="key that is not known here"):
        world.identity.callers.by_token(token)
    world.caller(await world.join())


async def test_what_was_verified_is_remembered_within_bounds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "REMEMBERED", 3)
    held = [await world.join() for _ in range(5)]
    first = world.caller(held[0])
    assert world.caller(held[0]) is first
    for one in held:
        world.caller(one)
        world.identity.callers.by_token(signed(world, jti=one.serial))
    assert len(world.identity.callers._by_certificate) == 3
    assert len(world.identity.callers._by_token) == 3
    assert world.caller(held[0]) is not first


OTHER = Authority(now=1_800_000_000)


def other(*uris: str, **more: Any) -> list[x509.Certificate]:
    return [OTHER.issue(*uris, **more).certificate]


async def test_certificates_that_nobody_here_vouches_for(world: World) -> None:
    held = await world.join()
    named_alike = Authority("root", now=1_800_000_000)
    for chain, message in (
        (other(WEB), "no root of td.test vouches"),
        (other("spiffe://other.test/ns/default/svc/web"), "trust domain 'other.test' is not known here"),
        ([*other(WEB), OTHER.certificate], "no root of td.test vouches"),
        ([named_alike.issue(WEB).certificate], "no root of td.test vouches"),
        (held.chain[:1], "no root of td.test vouches"),
        (held.chain[1:], "is an authority's, not a leaf"),
        (list(world.identity.trust.roots()[DOMAIN]), "authority's, not a leaf"),
    ):
        with pytest.raises(CredentialInvalid, match=message):
            world.caller(Held(held.record, chain, held.key))
    world.caller(held)


@pytest.mark.parametrize("leaf", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----"])
async def test_what_is_no_certificate(world: World, leaf: bytes) -> None:
    with pytest.raises(CredentialInvalid, match="is no PEM certificate"):
        world.identity.callers.by_certificate(leaf, b"")


async def test_a_chain_of_rubbish(world: World) -> None:
    held = await world.join()
    with pytest.raises(CredentialInvalid):
        world.identity.callers.by_certificate(to_pem([held.leaf]), b"rubbish")


@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({"aud": ["spiffe://other.test"]}, CredentialInvalid),
        ({"aud": None}, CredentialInvalid),
        ({"aud": []}, CredentialInvalid),
        ({"exp": None}, CredentialInvalid),
        ({"exp": "soon"}, CredentialInvalid),
        ({"exp": 1_799_999_999}, CredentialExpired),
        ({"exp": 1_800_000_000}, CredentialExpired),
        ({"exp": float("inf")}, CredentialInvalid),
        ({"iat": 1_800_000_302}, CredentialExpired),
        ({"nbf": 1_800_000_302}, CredentialExpired),
        ({"sub": None}, CredentialInvalid),
        ({"sub": "web"}, CredentialInvalid),
        ({"sub": "spiffe://other.test/ns/default/svc/web"}, CredentialInvalid),
        ({"sub": f"spiffe://{DOMAIN}/../x"}, CredentialInvalid),
        ({"headers": {"kid": "unknown"}}, CredentialInvalid),
        ({"headers": {"typ": "at+jwt"}}, CredentialInvalid),
        ({"key": ec.generate_private_key(ec.SECP256R1())}, CredentialInvalid),
        ({"key": "", "algorithm": "none"}, CredentialInvalid),
        ({"key": "s" * 32, "algorithm": "HS256"}, CredentialInvalid),
    ],
)
async def test_tokens_that_do_not_count(world: World, claims: dict[str, Any], error: type[SiraError]) -> None:
    with pytest.raises(error):
        world.identity.callers.by_token(signed(world, **claims))
    assert world.identity.callers.by_token(signed(world)).name == WEB


@pytest.mark.parametrize("token", ["x", "a.b.c", "." * 2, "\ud800", "x" * 20_000, "eyJhbGciOiJFUzI1NiJ9.bnVsbA.x"])
async def test_what_is_no_token(world: World, token: str) -> None:
    with pytest.raises(CredentialInvalid):
        world.identity.callers.by_token(token)


def pem(held: Held) -> tuple[bytes, bytes]:
    """A certificate, and what comes with it."""
    return to_pem(held.chain[:1]), to_pem(held.chain[1:])


async def test_who_connected_while_it_counted_is_known_after_it_has_expired(world: World) -> None:
    held = await world.join(ttl=60)
    verifier, (leaf, chain) = world.identity.callers, pem(held)
    known = verifier.by_connection(leaf, chain)
    world.clock.advance(61)
    with pytest.raises(CredentialExpired):
        verifier.by_certificate(leaf, chain)
    assert verifier.by_connection(leaf, chain) == known


async def test_who_connected_while_it_counted_is_refused_once_it_is_revoked(world: World) -> None:
    held = await world.join(ttl=60)
    leaf, chain = pem(held)
    world.clock.advance(61)
    await world.identity.records.revoke_serial(held.serial, cause="", actor="")
    with pytest.raises(CredentialRevoked):
        world.identity.callers.by_connection(leaf, chain)


async def test_a_connection_with_a_certificate_of_which_there_is_no_record_counts_for_nobody(world: World) -> None:
    leaf = to_pem([OTHER.issue(WEB).certificate])
    with pytest.raises(CredentialInvalid):
        world.identity.callers.by_connection(leaf, b"")
