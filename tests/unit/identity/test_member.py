"""What the kernel shows to those who connect, and under which names."""

from __future__ import annotations

import asyncio

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from sira_grpc.identity.member import Credentials, member_identity, reached_names
from sira_grpc.identity.upkeep import EVERY_SECONDS
from sira_grpc.svid import x509_svid
from sira_grpc.svid.spiffe_id import SpiffeId
from tests.clocks import NANOS
from tests.unit.identity.world import DOMAIN, HOST, ISSUING, PATIENCE, PUBLISHING, RETIRING, Stage, World

LOOPBACK = ["localhost", "127.0.0.1", "::1"]


@pytest.mark.parametrize(
    ("addresses", "host", "names"),
    [
        ([], "node-1", [*LOOPBACK, "node-1"]),
        (["127.0.0.1:7400", "localhost:7401"], "localhost", LOOPBACK),
        (["0.0.0.0:7400", "[::]:7400", ":7400"], "n", [*LOOPBACK, "n"]),
        (["10.1.2.3:74", "[fd00::1]:74", "a.example:74"], "n", [*LOOPBACK, "n", "10.1.2.3", "fd00::1", "a.example"]),
        (["unix:/run/sira:1"], "n", [*LOOPBACK, "n"]),
        ([], "bad_host", LOOPBACK),
        ([], "", LOOPBACK),
        ([], "-n", LOOPBACK),
    ],
)
def test_the_names_that_a_member_is_reached_under(addresses: list[str], host: str, names: list[str]) -> None:
    assert reached_names(addresses, host) == names


@pytest.mark.parametrize(
    ("host", "segment"), [("n-1", "n-1"), ("a.b.c", "a-b-c"), ("", "local"), ("h\u00f6st", "h-st"), ("..", "--")]
)
def test_the_identity_is_the_same_at_every_start(host: str, segment: str) -> None:
    identity = member_identity(DOMAIN, host)
    assert str(identity) == f"spiffe://{DOMAIN}/member/{segment}"
    assert SpiffeId.parse(str(identity)).kind == "member"


def shown(world: World) -> tuple[x509.Certificate, Credentials]:
    credentials = world.identity.member.read()
    return x509_svid.read_pem(credentials.chain)[0], credentials


async def test_the_certificate_holds_every_name(world: World) -> None:
    leaf, credentials = shown(world)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [f"kernel.{DOMAIN}", "localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"spiffe://{DOMAIN}/member/{HOST}"]
    assert credentials.chain.count(b"BEGIN CERTIFICATE") == 2
    assert world.identity.member.chain_and_key() == (credentials.chain, credentials.key)
    assert credentials.key.decode() not in repr(credentials)


async def test_callers_are_verified_with_what_is_trusted_now(world: World) -> None:
    before = world.identity.member.read()
    world.identity.member.refresh()
    assert world.identity.member.read() is before
    await world.identity.rotator.start()
    after = world.identity.member.read()
    assert after.chain == before.chain
    assert len(x509_svid.read_pem(after.roots)) == 2


def issuer(world: World) -> str:
    """Id of the authority whose certificate is shown."""
    chain = x509_svid.read_pem(world.identity.member.read().chain)
    keyring = world.identity._opened.keyring
    (found,) = [a for a in world.identity.view.authorities if keyring.get(a).issuer == chain[1]]
    return found


async def newest(world: World) -> None:
    """Waits until the member has a certificate of the authority that issues."""
    await world.until(lambda: world.live(world.issuing) >= 2)
    async with asyncio.timeout(PATIENCE):
        while world.identity.member._newest != world.issuing:
            await asyncio.to_thread(lambda: None)


class TestShown:
    """While a root is exchanged the kernel shows what everybody trusts, who was away too."""

    async def test_the_old_ones_until_its_root_is_gone(self, world: World) -> None:
        old = world.issuing
        await world.identity.rotator.start()
        assert issuer(world) == old
        await world.identity.rotator.advance(PUBLISHING)
        await newest(world)
        assert issuer(world) == old
        await world.identity.rotator.advance(ISSUING)
        assert issuer(world) == world.issuing != old
        await world.identity.rotator.advance(RETIRING)
        assert issuer(world) == world.issuing
        assert list(world.identity.member._held) == [world.issuing]

    async def test_after_a_restart_too_and_the_rotation_does_not_wait_for_it(self, world: World) -> None:
        old = world.issuing
        await world.identity.rotator.start()
        await world.identity.rotator.advance(PUBLISHING)
        await newest(world)
        await world.restart()
        assert issuer(world) == old
        assert world.live(old) == 0

    @pytest.mark.parametrize("stage", [PUBLISHING, ISSUING, RETIRING])
    async def test_when_it_is_turned_back(self, world: World, stage: Stage) -> None:
        old = world.issuing
        await world.identity.rotator.start()
        for forced in (PUBLISHING, ISSUING):
            if forced < stage:
                await world.identity.rotator.advance(forced)
                await newest(world)
        await world.identity.rotator.cancel()
        await newest(world)
        # Of the two, the one that was trusted all the time.
        assert issuer(world) == world.trusted[0]
        assert (world.trusted[0] == old) == (stage != RETIRING)

    async def test_not_one_that_is_nearly_over(self, world: World) -> None:
        old = world.issuing
        world.clock.advance(1700)  # it is renewed after 1,800
        await world.identity.rotator.start()
        await world.identity.rotator.advance(PUBLISHING)
        await newest(world)
        expires = x509_svid.read_pem(world.identity.member.read().chain)[0].not_valid_after_utc.timestamp()
        while issuer(world) == old:
            assert expires > world.clock.time_ns() / NANOS
            world.clock.advance(EVERY_SECONDS)
            world.identity._upkeep.here()
        assert expires > world.clock.time_ns() / NANOS
        assert issuer(world) == world.issuing

    async def test_what_matches(self, world: World) -> None:
        await world.identity.rotator.start()
        for stage in (PUBLISHING, ISSUING, RETIRING):
            chain, key = world.identity.member.chain_and_key()
            private = serialization.load_pem_private_key(key, None)
            leaf, *above = x509_svid.read_pem(chain)
            assert private.public_key() == leaf.public_key()
            roots = world.identity.trust.roots()
            x509_svid.verify(leaf, above, roots, now=world.clock.time_ns() / NANOS)
            await world.identity.rotator.advance(stage)
            await newest(world)
