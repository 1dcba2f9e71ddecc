"""The kernel's own certificates look after themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sira_grpc.errors import ConfigError, StoreUnavailable
from sira_grpc.identity import own_certificate
from sira_grpc.identity.issuer import Order
from sira_grpc.identity.own_certificate import OwnCertificate
from sira_grpc.svid import x509_svid
from sira_grpc.svid.spiffe_id import SpiffeId
from tests.unit.identity.upstream import Upstream, authority
from tests.unit.identity.world import DOMAIN, ISSUING, PUBLISHING, World, Worlds

IDENTITY = SpiffeId(DOMAIN, ("member", "m"))


class Installed:
    """Where certificates are put to use. Keeps them, and fails as often as it is told to."""

    def __init__(self) -> None:
        self.pems: list[tuple[bytes, bytes]] = []
        self.failures = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def install(self, chain: bytes, key: bytes, authority_id: str) -> None:
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        self.pems.append((chain, key))

    @property
    def leaves(self) -> list[x509.Certificate]:
        return [x509_svid.read_pem(chain)[0] for chain, _ in self.pems]


def made(world: World, installed: Installed, *names: str, ttl: float = 3600) -> OwnCertificate:
    return OwnCertificate(
        world.identity.view,
        world.identity.issuer,
        IDENTITY,
        names,
        world.clock,
        ttl=ttl,
        install=installed.install,
    )


@asynccontextmanager
async def running(certificate: OwnCertificate) -> AsyncIterator[None]:
    task = asyncio.create_task(certificate.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def held(world: World) -> list[str]:
    """Serial numbers of what counts of the identity."""
    view = world.identity.view
    serials = view.by_identity.get(str(IDENTITY), ())
    return [s for s in serials if not view.certificates[s].value.superseded_by]


async def test_it_is_issued_and_put_to_use_with_its_key(world: World) -> None:
    installed = Installed()
    await made(world, installed, "a.org", "10.1.2.3").renew()
    ((chain, key),) = installed.pems
    leaf, intermediate = x509_svid.read_pem(chain)
    private = serialization.load_pem_private_key(key, None)
    assert private.public_key() == leaf.public_key()
    assert intermediate == world.identity._opened.keyring.issuing().issuer
    record = world.record(x509_svid.serial_of(leaf))
    assert (record.identity, record.requester, list(record.dns_names)) == (str(IDENTITY), str(IDENTITY), ["a.org"])


async def test_each_has_a_key_of_its_own_and_ends_those_before(world: World) -> None:
    installed = Installed()
    certificate = made(world, installed)
    for _ in range(3):
        await certificate.renew()
    assert len({key for _, key in installed.pems}) == 3
    assert held(world) == [x509_svid.serial_of(installed.leaves[-1])]


async def test_it_is_renewed_at_half_of_its_life(world: World) -> None:
    installed = Installed()
    certificate = made(world, installed)
    await certificate.renew()
    world.clock.advance(1799)
    async with running(certificate):
        await world.turns()
        assert len(installed.pems) == 1
    world.clock.advance(1)
    async with running(certificate):
        await world.until(lambda: len(world.identity.view.by_identity[str(IDENTITY)]) == 2)


async def test_it_is_renewed_when_another_authority_issues(world: World) -> None:
    installed = Installed()
    certificate = made(world, installed)
    await certificate.renew()
    world.identity.view.trust_changed.append(lambda revision: certificate.trust_changed())
    async with running(certificate):
        await world.identity.rotator.start()
        await world.identity.records.revoke_serial("abc", cause="", actor="")
        await world.turns()
        assert len(installed.pems) == 1  # another one is trusted, and something was revoked, which is no matter here
        await world.identity.rotator.advance(PUBLISHING)
        await world.until(lambda: len(held(world)) == 1 and world.record(held(world)[0]).authority == world.issuing)


async def test_it_is_renewed_when_it_was_revoked(world: World) -> None:
    installed = Installed()
    certificate = made(world, installed)
    await certificate.renew()
    world.identity.view.trust_changed.append(lambda revision: certificate.trust_changed())
    async with running(certificate):
        for whole in (False, True):
            before = held(world)
            world.clock.advance(1)
            if whole:
                await world.identity.records.revoke_identity(str(IDENTITY), cause="", actor="")
            else:
                await world.identity.records.revoke_serial(before[0], cause="", actor="")
            world.clock.advance(1)
            await world.until(lambda before=before: set(held(world)) - set(before))  # type: ignore[misc]  # the default binds it


async def test_an_authority_that_comes_while_it_is_put_to_use_is_not_missed(world: World) -> None:
    installed = Installed()
    certificate = made(world, installed)
    await certificate.renew()
    world.identity.view.trust_changed.append(lambda revision: certificate.trust_changed())
    await world.identity.rotator.start()
    async with running(certificate):
        installed.gate.clear()
        await world.identity.rotator.advance(PUBLISHING)
        await world.until(lambda: world.record(held(world)[0]).authority == world.issuing)
        await world.identity.rotator.cancel()  # and so the first one issues again
        assert world.stage == ISSUING
        installed.gate.set()
        await world.until(lambda: world.record(held(world)[0]).authority == world.issuing)


async def test_what_fails_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_certificate, "RETRY_SECONDS", 0.01)
    installed = Installed()
    certificate = made(world, installed)
    await certificate.renew()
    world.clock.advance(1800)
    installed.failures = 2
    world.store.failures += [StoreUnavailable("full")] * 2
    async with running(certificate):
        await world.until(lambda: installed.failures == 0 and len(installed.pems) == 1 and len(held(world)) == 1)
        await world.until(lambda: len(world.identity.view.by_identity[str(IDENTITY)]) == 4)
    assert len(held(world)) == 1


async def test_a_restart_ends_those_before(world: World) -> None:
    identities = [str(certificate.identity) for certificate in world.identity._own]
    before = {serial for identity in identities for serial in world.identity.view.by_identity[identity]}
    for _ in range(3):
        await world.restart(after=1)
    assert world.live() == 2
    for serial in before:
        assert world.record(serial).superseded_by


async def test_more_than_a_hundred_restarts_leave_one_that_counts(world: World) -> None:
    installed = Installed()
    certificate = made(world, installed)
    for _ in range(120):
        await certificate.renew()
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    await world.identity.issuer.order(Order(IDENTITY, (), key, 60, "x"))
    assert len(held(world)) == 2
    await made(world, installed).renew()
    assert len(held(world)) == 1


async def test_near_the_end_of_its_issuer_it_is_not_renewed_all_the_time(worlds: Worlds, world: World) -> None:
    root = authority()
    upstream = Upstream(world.path / "upstream")
    upstream.write([authority("issuing", root, end=3600)], [root])
    await world.stop()
    other = worlds(upstream.named_in(world.config))
    other.path = world.path / "other"
    await other.start()
    other.clock.advance(3599)
    installed = Installed()
    certificate = made(other, installed)
    await certificate.renew()
    assert certificate._renew_ns - other.clock.time_ns() == 5 * 10**9
    other.clock.advance(1)
    with pytest.raises(ConfigError, match=r"the intermediate of authority .* expired"):
        await certificate.renew()
    assert not other.identity.failed.is_set()
