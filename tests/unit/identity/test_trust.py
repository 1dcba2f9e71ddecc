"""Verifiers are told whom to believe: one state, built once for all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sira.identity.v1.federated_bundle_pb2 import FederatedBundle
from sira.identity.v1.identity_service_pb2 import WatchTrustBundlesResponse

from sira_grpc.errors import TrustDomainNotFound
from sira_grpc.identity.trust import CRL_NS
from sira_grpc.svid import bundle_document, x509_svid
from tests.clocks import NANOS
from tests.unit.identity import openssl
from tests.unit.identity.world import API, DOMAIN, ISSUING, RETIRING, WEB, Held, World
from tests.unit.svid.authority import Authority


async def state(world: World) -> WatchTrustBundlesResponse:
    return WatchTrustBundlesResponse.FromString((await world.identity.trust.state()).message)


async def crls(world: World) -> list[x509.CertificateRevocationList]:
    return [x509.load_der_x509_crl(der) for der in (await state(world)).crls]


async def revoked(world: World) -> set[str]:
    """Serial numbers in the revocation lists."""
    return {format(entry.serial_number, "x") for crl in await crls(world) for entry in crl}


async def test_the_bundle_is_that_of_the_authorities_trusted(world: World) -> None:
    bundle = world.identity.trust.bundle()
    authority = world.identity._opened.keyring.issuing()
    assert bundle.trust_domain == DOMAIN
    assert list(bundle.x509_authorities) == [authority.record.root]
    assert list(bundle.jwt_authorities) == [authority.jwt_authority]
    assert (bundle.sequence, bundle.refresh_hint.seconds) == (1, 300)
    assert world.identity.trust.bundle(DOMAIN) == bundle
    await world.identity.rotator.start()
    both = world.identity.trust.bundle()
    assert (len(both.x509_authorities), len(both.jwt_authorities), both.sequence) == (2, 2, 2)
    assert both.x509_authorities[0] == authority.record.root


async def test_the_document_is_the_bundle(world: World) -> None:
    assert bundle_document.read(DOMAIN, world.identity.trust.document()) == world.identity.trust.bundle()


async def test_callers_are_verified_with_the_own_roots_alone(world: World) -> None:
    other = Authority()
    await federate(world, "other.test", other)
    assert list(world.identity.trust.roots()) == [DOMAIN]
    assert list(world.identity.trust.jwt_keys()) == [DOMAIN]
    assert list(world.identity.trust.bundle("other.test").x509_authorities) == [x509_svid.to_der(other.certificate)]


async def federate(world: World, trust_domain: str, authority: Authority) -> None:
    bundle = world.identity.trust.bundle()
    document = bundle_document.write(
        type(bundle)(trust_domain=trust_domain, x509_authorities=[x509_svid.to_der(authority.certificate)])
    )
    await world.identity.federation.set(trust_domain, document, FederatedBundle())


async def test_a_trust_domain_that_is_not_known_is_told(world: World) -> None:
    with pytest.raises(TrustDomainNotFound) as caught:
        world.identity.trust.bundle("other.test")
    assert caught.value.metadata == {"trust_domain": "other.test"}


async def test_the_state_says_everything(world: World) -> None:
    for number in range(3):
        await federate(world, f"d{2 - number}.test", Authority())
    found = await state(world)
    assert found.revision == world.identity.trust.revision == world.identity.view.trust_revision
    assert found.bundle == world.identity.trust.bundle()
    assert found.issuing_authority == world.issuing
    assert [bundle.trust_domain for bundle in found.federated] == ["d0.test", "d1.test", "d2.test"]
    assert not found.crls
    assert found.renew_within.seconds == 0


async def test_a_fleet_is_told_to_take_its_time(world: World) -> None:
    watchers = [world.watch() for _ in range(250)]
    assert (await state(world)).renew_within.seconds == 2
    for watcher in watchers:
        await watcher.leave()


async def test_it_is_built_once_for_all_who_ask(world: World) -> None:
    found = await asyncio.gather(*(world.identity.trust.state() for _ in range(50)))
    assert all(one is found[0] for one in found)
    await world.join()
    assert await world.identity.trust.state() is found[0]
    await world.identity.records.revoke_serial("abc", cause="", actor="")
    assert await world.identity.trust.state() is not found[0]


async def test_revocation_lists_are_made_anew_at_half_of_their_life(world: World) -> None:
    held = await world.join(ttl=86_400)
    await world.identity.records.revoke_serial(held.serial, cause="", actor="")
    first = await world.identity.trust.state()
    world.clock.advance(CRL_NS / NANOS)
    assert not world.identity.trust.stale
    assert await world.identity.trust.state() is first
    world.clock.advance(1)
    assert world.identity.trust.stale
    (crl,) = await crls(world)
    assert crl.next_update_utc is not None
    assert crl.next_update_utc.timestamp() == world.clock.time_ns() // NANOS + 86_400
    assert not world.identity.trust.stale


class TestRevoked:
    """What is revoked is in the lists for as long as it would otherwise be valid."""

    async def test_by_serial_number(self, world: World) -> None:
        one, other = await world.join(), await world.join()
        await world.identity.records.revoke_serial(one.serial, cause="", actor="")
        assert await revoked(world) == {one.serial}
        await world.identity.records.revoke_serial(other.serial, cause="", actor="")
        assert await revoked(world) == {one.serial, other.serial}

    async def test_by_identity_and_not_what_it_is_issued_afterwards(self, world: World) -> None:
        before = [await world.join() for _ in range(3)]
        bystander = await world.join(API)
        await world.identity.records.revoke_identity(WEB, cause="", actor="")
        world.clock.advance(1)
        await world.join()
        assert await revoked(world) == {held.serial for held in before}
        assert bystander.serial not in await revoked(world)

    async def test_at_once_for_who_waits_already(self, world: World) -> None:
        held = await world.join()
        watching = world.watch()
        await watching.use()
        news = asyncio.create_task(watching.use())
        await world.turns()
        await world.identity.records.revoke_identity(WEB, cause="", actor="")
        (crl,) = (await news).crls
        assert [format(entry.serial_number, "x") for entry in x509.load_der_x509_crl(crl)] == [held.serial]
        await watching.leave()

    async def test_until_it_expires(self, world: World) -> None:
        held = await world.join(ttl=60)
        await world.join(API)
        await world.identity.records.revoke_serial(held.serial, cause="", actor="")
        world.clock.advance(59)
        assert await revoked(world) == {held.serial}
        world.clock.advance(1)
        await world.identity.records.revoke_serial("abc", cause="", actor="")  # otherwise nothing is built
        assert await revoked(world) == set()

    async def test_one_that_there_is_no_record_of_is_in_no_list(self, world: World) -> None:
        await world.identity.records.revoke_serial("abc", cause="", actor="")
        assert await crls(world) == []

    async def test_each_authority_has_its_own_list(self, world: World, tmp_path: Path) -> None:
        old = await world.join()
        await world.identity.rotator.start()
        await world.passes()
        await world.until(lambda: world.stage == ISSUING)
        new = await world.join()
        for held in (old, new):
            await world.identity.records.revoke_serial(held.serial, cause="", actor="")
        lists = await crls(world)
        assert len(lists) == 2
        for held in (old, new):
            (crl,) = [one for one in lists if one.issuer == held.chain[1].subject]
            assert [format(entry.serial_number, "x") for entry in crl] == [held.serial]
            if openssl.COMMAND:
                assert not openssl_takes(world, held, crl, tmp_path)
        await world.identity.rotator.advance(ISSUING)
        await world.until(lambda: world.stage == RETIRING)
        assert await revoked(world) == {new.serial}


def openssl_takes(world: World, held: Held, crl: x509.CertificateRevocationList, folder: Path) -> bool:
    roots = list(world.identity.trust.roots()[DOMAIN])
    time = ("-attime", str(world.clock.time_ns() // NANOS))
    der = crl.public_bytes(Encoding.DER)
    verified, said = openssl.verified(folder, held.leaf, held.chain[1:], roots, *time, crl=der)
    assert verified or "certificate revoked" in said, said
    return verified
