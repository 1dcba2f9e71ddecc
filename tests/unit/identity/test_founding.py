"""The first start founds the trust domain, every other one opens it, and what does not fit is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sira_grpc.config import IdentityConfig, Secret
from sira_grpc.errors import ConfigError, NoRotation, StoreUnavailable
from sira_grpc.identity.sealing import KEY_FILE
from sira_grpc.store import open_sqlite
from sira_grpc.svid import x509_svid
from tests.unit.identity.upstream import Upstream, authority, key_pem
from tests.unit.identity.world import DOMAIN, ISSUING, MIN_STAGE, PUBLISHING, RETIRING, World, Worlds
from tests.unit.svid.authority import Authority


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return Upstream(tmp_path / "upstream")


async def refused(world: World, message: str) -> None:
    """Makes sure that a start fails, and leaves the store as it was."""
    before = await entries(world)
    with pytest.raises(ConfigError, match=message):
        await world.start()
    assert await entries(world) == before


async def entries(world: World) -> dict[str, bytes]:
    """What is in the store."""
    store = await open_sqlite(world.path / "data", clock=world.clock)
    try:
        return {entry.key: entry.value for entry in (await store.snapshot("identity/")).entries}
    finally:
        await store.close()


async def test_the_first_start_founds_and_the_next_one_finds(world: World) -> None:
    assert world.identity.founded
    assert world.trusted == [world.issuing]
    before = world.identity.status()
    assert before.trust_domain == DOMAIN
    fingerprint = world.identity.root_fingerprint
    await world.restart()
    assert not world.identity.founded
    assert world.identity.status().authorities == before.authorities
    assert world.identity.root_fingerprint == fingerprint == before.authorities[0].root_sha256


async def test_no_private_key_is_in_the_store_in_the_clear(world: World) -> None:
    authority_ = world.identity._opened.keyring.issuing()
    await world.stop()
    stored = b"".join((await entries(world)).values())
    for key in (authority_.issuing_key, authority_.jwt_key, authority_.root_key):
        assert key is not None
        number = key.private_numbers().private_value
        assert number.to_bytes(32) not in stored
    await world.start()


async def test_the_trust_domain_is_fixed(world: World) -> None:
    await world.stop()
    right = world.config
    world.config = msgspec.structs.replace(right, trust_domain="other.test")
    await refused(world, r"identity\.trust_domain: is 'other\.test', but the store was founded as 'td\.test'")
    world.config = right
    await world.start()


async def test_another_key_file_or_none_is_refused(world: World, tmp_path: Path) -> None:
    await world.stop()
    path = Path(world.config.dir) / KEY_FILE
    right = path.read_bytes()
    path.unlink()
    await refused(world, r"encryption\.key is not there, and the private keys in the store are encrypted with it")
    path.touch(mode=0o600)
    path.write_text("00" * 32, encoding="ascii")
    await refused(world, r"encryption\.key: does not open the private keys in the store")
    path.write_bytes(right)
    await world.start()


async def test_a_passphrase_seals_instead_of_a_key_file(worlds: Worlds, config: IdentityConfig) -> None:
    with_passphrase = msgspec.structs.replace(config, passphrase=Secret("correct horse"))
    world = worlds(with_passphrase)
    await world.start()
    assert not (Path(config.dir) / KEY_FILE).exists()
    await world.restart()
    await world.stop()
    world.config = msgspec.structs.replace(config, passphrase=Secret("incorrect horse"))
    await refused(world, r"identity\.passphrase: does not open the private keys in the store")
    world.config = config
    await refused(world, r"identity\.passphrase: the private keys in the store are encrypted with a passphrase")
    world.config = with_passphrase
    await world.start()


async def test_a_passphrase_does_not_open_what_a_key_file_sealed(world: World) -> None:
    await world.stop()
    right = world.config
    world.config = msgspec.structs.replace(right, passphrase=Secret("correct horse"))
    await refused(world, r"identity\.passphrase: .* are encrypted with the key file in identity\.dir")
    world.config = right
    await world.start()


async def test_a_short_passphrase_founds_nothing(worlds: Worlds, config: IdentityConfig) -> None:
    world = worlds(msgspec.structs.replace(config, passphrase=Secret("short")))
    await refused(world, r"identity\.passphrase: must have at least 12 characters")


async def test_who_was_killed_between_the_key_and_the_founding_goes_on(
    worlds: Worlds, config: IdentityConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = worlds()
    with monkeypatch.context() as patched:
        patched.setattr("sira_grpc.identity.founding.Founder.make", fail)
        with pytest.raises(StoreUnavailable):
            await world.start()
    made = (Path(config.dir) / KEY_FILE).read_bytes()
    assert await entries(world) == {}
    await world.start()
    assert world.identity.founded
    assert (Path(config.dir) / KEY_FILE).read_bytes() == made
    await world.stop()


async def fail(*arguments: object) -> None:
    raise StoreUnavailable("killed here")


async def test_a_store_that_was_copied_without_the_folder_is_worth_nothing(world: World, tmp_path: Path) -> None:
    await world.stop()
    right = world.config
    world.config = msgspec.structs.replace(right, dir=str(tmp_path / "elsewhere"))
    await refused(world, r"elsewhere/encryption\.key is not there")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    world.config = right
    await world.start()


class TestUpstream:
    """An external authority keeps the root; the kernel has an intermediate of it."""

    async def test_its_root_is_trusted_and_its_intermediates_are_shown(
        self, worlds: Worlds, config: IdentityConfig, upstream: Upstream
    ) -> None:
        root = authority()
        middle = authority("middle", root)
        issuing = authority("issuing", middle)
        upstream.write([issuing, middle], [authority("unrelated"), root])
        world = worlds(upstream.named_in(config))
        for _ in range(2):
            await world.start()
            held = await world.join()
            assert held.chain[1:] == [issuing.certificate, middle.certificate]
            assert world.caller(held).name == held.record.identity
            assert list(world.identity.trust.roots()[DOMAIN]) == [root.certificate]
            (told,) = world.identity.status().authorities
            assert told.external
            assert world.identity._opened.keyring.issuing().root_key is None
            assert world.stage is None
            await world.stop()

    async def test_another_one_at_a_restart_begins_a_rotation(
        self, worlds: Worlds, config: IdentityConfig, upstream: Upstream
    ) -> None:
        world = worlds()
        await world.start()
        own = world.issuing
        await world.stop()
        root = authority()
        upstream.write([authority("issuing", root)], [root])
        world.config = upstream.named_in(config)
        await world.start()
        assert world.stage == PUBLISHING
        roots = [root.certificate, world.identity._opened.keyring.get(own).root]
        assert set(x509_svid.read_pem(world.identity.member.read().roots)) == set(roots)
        await world.restart()
        assert world.stage == PUBLISHING
        for stage in (ISSUING, RETIRING, None):
            await world.passes()
            await world.until(lambda stage=stage: world.stage == stage and not (stage and world.live(own)))  # type: ignore[misc]
        assert own not in world.trusted
        assert world.identity.status().authorities[0].external
        await world.stop()

    async def test_there_is_nothing_to_rotate_to_without_another_one(
        self, worlds: Worlds, config: IdentityConfig, upstream: Upstream
    ) -> None:
        root = authority()
        upstream.write([authority("issuing", root)], [root])
        world = worlds(upstream.named_in(config))
        await world.start()
        with pytest.raises(NoRotation, match=r"identity\.upstream_cert_file: names an authority that is there already"):
            await world.identity.rotator.start()
        upstream.cert_file.unlink()
        with pytest.raises(NoRotation, match=r"there is nothing to rotate to: .*intermediate\.pem cannot be read"):
            await world.identity.rotator.start()
        upstream.write([authority("next", root)], [root])
        await world.identity.rotator.start()
        assert world.stage == PUBLISHING
        await world.stop()

    async def test_the_way_back_to_an_own_root(
        self, worlds: Worlds, config: IdentityConfig, upstream: Upstream
    ) -> None:
        root = authority()
        upstream.write([authority("issuing", root)], [root])
        world = worlds(upstream.named_in(config))
        await world.start()
        await world.stop()
        world.config = config
        await world.start()
        assert world.stage is None
        await world.identity.rotator.start()
        await world.passes(MIN_STAGE)
        await world.until(lambda: world.stage == ISSUING)
        assert not world.identity._opened.keyring.issuing().external
        await world.stop()


ROOT, FOREIGN = authority(), authority()
GOOD = authority("issuing", ROOT)
P384 = authority("issuing", ROOT, key=ec.generate_private_key(ec.SECP384R1()))
RSA = authority("issuing", ROOT, key=rsa.generate_private_key(65537, 2048))
MIDDLE = authority("middle", ROOT)
BELOW = authority("issuing", MIDDLE)
CERT, KEY, BUNDLE = (f"identity.upstream_{name}_file" for name in ("cert", "key", "bundle"))


def given(chain: list[Authority], roots: list[Authority], key: bytes | None = None) -> Callable[[Upstream], None]:
    return lambda upstream: upstream.write(chain, roots, key=key)


def spoiled(spoil: Callable[[Upstream], object]) -> Callable[[Upstream], None]:
    def write(upstream: Upstream) -> None:
        upstream.write([GOOD], [ROOT])
        spoil(upstream)

    return write


UNUSABLE: dict[str, tuple[Callable[[Upstream], None], str]] = {
    "no certificate file": (spoiled(lambda u: u.cert_file.unlink()), f"{CERT}: .* cannot be read: No such file"),
    "no key file": (spoiled(lambda u: u.key_file.unlink()), f"{KEY}: .* cannot be read: No such file"),
    "no bundle file": (spoiled(lambda u: u.bundle_file.unlink()), f"{BUNDLE}: .* cannot be read: No such file"),
    "an empty certificate file": (spoiled(lambda u: u.cert_file.write_bytes(b"")), f"{CERT}: .* is no PEM certificate"),
    "rubbish for a bundle": (spoiled(lambda u: u.bundle_file.write_bytes(b"x")), f"{BUNDLE}: .* is no PEM certificate"),
    "rubbish for a key": (given([GOOD], [ROOT], b"rubbish"), f"{KEY}: .* is no unencrypted PEM key"),
    "an encrypted key": (given([GOOD], [ROOT], key_pem(GOOD.key, b"secret")), f"{KEY}: .* is no unencrypted PEM key"),
    "an open key file": (spoiled(lambda u: u.key_file.chmod(0o644)), f"{KEY}: .* is open to others"),
    "the key of another": (given([GOOD], [ROOT], key_pem(FOREIGN.key)), f"{KEY}: is not the key of {CERT}"),
    "a P-384 key": (given([P384], [ROOT]), f"{KEY}: .* must be an ECDSA P-256 key"),
    "an RSA key": (given([RSA], [ROOT]), f"{KEY}: .* must be an ECDSA P-256 key"),
    "a root of another": (given([GOOD], [FOREIGN]), f"{BUNDLE}: holds no root that {CERT} leads to"),
    "a chain with a gap": (given([BELOW], [ROOT]), f"{BUNDLE}: holds no root that {CERT} leads to"),
    "a chain in disorder": (given([BELOW, ROOT, MIDDLE], [ROOT]), f"{CERT}: each certificate must be followed by its"),
    "a leaf": (given([authority("leaf", ROOT, ca=False)], [ROOT]), f"{CERT}: may not issue certificates"),
    "one without usage": (given([authority("i", ROOT, uses=())], [ROOT]), f"{CERT}: may not issue certificates"),
    "one that says nothing": (given([authority("i", ROOT, ca=None)], [ROOT]), f"{CERT}: may not issue certificates"),
    "an expired one": (
        given([authority("i", ROOT, start=-9, end=-5)], [ROOT]),
        f"{CERT}: has expired, or is not valid",
    ),
    "a future one": (given([authority("i", ROOT, start=9)], [ROOT]), f"{CERT}: has expired, or is not valid yet"),
}


def deep() -> tuple[list[Authority], list[Authority]]:
    root = authority()
    chain = [root]
    for depth in range(6):
        chain.append(authority(f"level{depth}", chain[-1]))
    return chain[:0:-1], [root]


def below(**root: Any) -> tuple[list[Authority], list[Authority]]:
    """An intermediate below a middle one below a root."""
    top = authority("root", **root)
    middle = authority("middle", top)
    return [authority("issuing", middle), middle], [top]


def below_middle(**middle: Any) -> tuple[list[Authority], list[Authority]]:
    between = authority("middle", ROOT, **middle)
    return [authority("issuing", between), between], [ROOT]


UNVERIFIABLE: dict[str, tuple[list[Authority], list[Authority]]] = {
    "an expired root": below(start=-9, end=-5),
    "an expired certificate between": below_middle(start=-9, end=-5),
    "a certificate between that may have none below": below_middle(path_length=0),
    "a certificate between that is no authority": below_middle(ca=False),
    "a chain that is too long": deep(),
}


@pytest.mark.parametrize("case", UNUSABLE)
async def test_files_that_cannot_be_used_are_named(
    worlds: Worlds, config: IdentityConfig, upstream: Upstream, case: str
) -> None:
    write, message = UNUSABLE[case]
    write(upstream)
    world = worlds(upstream.named_in(config))
    await refused(world, message)


@pytest.mark.parametrize("case", UNVERIFIABLE)
async def test_an_authority_whose_certificates_nobody_could_verify_is_refused(
    worlds: Worlds, config: IdentityConfig, upstream: Upstream, case: str
) -> None:
    upstream.write(*UNVERIFIABLE[case])
    world = worlds(upstream.named_in(config))
    await refused(world, f"{CERT}: certificates that it issues are not verified with the root in {BUNDLE}: ")
