"""What is done every half minute: nothing expires unnoticed, and what is over is forgotten."""

from __future__ import annotations

import logging

import pytest

from sira_grpc.errors import StoreUnavailable
from sira_grpc.identity import names
from sira_grpc.svid import x509_svid
from tests.clocks import NANOS
from tests.unit.identity.upstream import Upstream, authority
from tests.unit.identity.world import DOMAIN, PUBLISHING, World, Worlds

DAY = 86_400


def now(world: World) -> float:
    """Unix seconds, to the second as certificates have it."""
    return world.clock.time_ns() // NANOS


async def test_the_intermediate_is_replaced_at_half_of_its_life(world: World) -> None:
    keyring, upkeep = world.identity._opened.keyring, world.identity._upkeep
    before = keyring.issuing()
    held = await world.join(ttl=DAY)
    half = world.config.intermediate_ttl / 2
    world.clock.advance(half - 301)
    await upkeep.once()
    assert keyring.issuing().issuer == before.issuer
    world.clock.advance(301)
    late = await world.join(ttl=DAY)
    await upkeep.once()
    after = keyring.issuing()
    assert after.issuer != before.issuer
    assert (after.id, after.root, after.jwt_authority) == (before.id, before.root, before.jwt_authority)
    assert (
        after.issuer.not_valid_after_utc.timestamp() == world.clock.time_ns() // 10**9 + world.config.intermediate_ttl
    )
    renewed = await world.renew(late)
    assert renewed.chain[1] == after.issuer
    for one in (late, renewed):
        world.caller(one)
    assert held.chain[1] == before.issuer
    await upkeep.once()
    assert keyring.issuing().issuer == after.issuer


async def test_a_kernel_that_was_off_for_long_starts_again(world: World) -> None:
    await world.restart(after=world.config.intermediate_ttl + 7 * DAY)
    held = await world.join()
    world.caller(held)
    leaf = x509_svid.read_pem(world.identity.member.read().chain)[0]
    assert leaf.not_valid_after_utc.timestamp() > world.clock.time_ns() / 1e9


@pytest.mark.parametrize("stage", [0, 1, 2])
async def test_also_in_the_middle_of_a_rotation(world: World, stage: int) -> None:
    await world.identity.rotator.start()
    for forced in range(1, stage + 1):
        await world.identity.rotator.advance(forced)  # type: ignore[arg-type]  # a stage
    await world.restart(after=world.config.intermediate_ttl + 7 * DAY)
    world.caller(await world.join())


async def test_the_intermediate_is_left_when_a_new_one_would_live_no_longer(world: World) -> None:
    ends = world.identity._opened.keyring.issuing().root.not_valid_after_utc.timestamp()
    await world.stop()
    world.clock.advance(ends - world.clock.time_ns() / 1e9 - 10 * DAY)
    await world.start()
    upkeep, keyring = world.identity._upkeep, world.identity._opened.keyring
    last = keyring.issuing().issuer
    assert last.not_valid_after_utc.timestamp() == ends
    world.clock.advance(6 * DAY)
    await upkeep.renew_intermediate()
    assert keyring.issuing().issuer == last


async def test_the_root_is_rotated_near_its_end(world: World) -> None:
    await world.stop()
    world.clock.advance(world.config.root_ttl * 5 / 6 - 600)
    await world.start()
    await world.identity._upkeep.once()
    assert world.stage is None
    world.clock.advance(600)
    await world.identity._upkeep.once()
    assert world.stage == PUBLISHING
    rotation = world.identity.view.rotation
    assert rotation is not None
    new = world.identity._opened.keyring.get(rotation.value.to_authority)
    assert new.root.not_valid_after_utc.timestamp() == now(world) + world.config.root_ttl
    await world.identity._upkeep.once()  # there is one already
    assert len(world.trusted) == 2


async def test_an_external_authority_is_left_to_its_owner(
    worlds: Worlds, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.stop()
    root = authority(end=100 * DAY)
    upstream = Upstream(world.path / "upstream")
    upstream.write([authority("issuing", root, end=90 * DAY)], [root])
    other = worlds(upstream.named_in(world.config))
    other.path = world.path / "other"
    await other.start()
    before = other.identity._opened.keyring.issuing().issuer
    other.clock.advance(87 * DAY)
    with caplog.at_level(logging.WARNING):
        await other.identity._upkeep.once()
    assert "the intermediate of the external authority expires in 72 h: name another one" in caplog.text
    assert other.identity._opened.keyring.issuing().issuer == before
    assert other.stage is None


async def test_what_is_over_is_forgotten(world: World) -> None:
    secret = await world.token(ttl=60)
    await world.issue(join_token=secret, ttl=60)
    await world.identity.records.revoke_serial("abc", cause="", actor="")
    world.clock.advance(60 + world.config.record_retention)
    await world.identity._upkeep.once()
    assert len(world.identity.view.certificates) == 3
    world.clock.advance(1)
    await world.identity._upkeep.once()
    assert len(world.identity.view.certificates) == 2
    assert not world.identity.view.tokens
    world.clock.advance(2 * DAY)
    await world.identity._upkeep.once()
    assert not world.identity.view.revoked_serials
    snapshot = await world.store.snapshot(names.PREFIX)
    assert {entry.key for entry in snapshot.entries} == {names.DOMAIN, names.authority_key(world.issuing)}


async def test_what_cannot_be_done_now_is_done_later(world: World) -> None:
    world.clock.advance(world.config.intermediate_ttl / 2)
    before = world.identity._opened.keyring.issuing().issuer
    world.store.failures.append(StoreUnavailable("full"))
    with pytest.raises(StoreUnavailable):
        await world.identity._upkeep.once()
    assert world.identity._opened.keyring.issuing().issuer == before
    await world.identity._upkeep.once()
    assert world.identity._opened.keyring.issuing().issuer != before


async def test_the_task_behind_survives_what_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sira_grpc.identity.upkeep.EVERY_SECONDS", 0.01)
    await world.restart()
    before = world.identity._opened.keyring.issuing().issuer
    world.store.failures.append(StoreUnavailable("full"))
    world.clock.advance(world.config.intermediate_ttl / 2)
    await world.until(lambda: world.identity._opened.keyring.issuing().issuer != before)
    assert not world.identity.failed.is_set()
    assert world.identity.trust.bundle().trust_domain == DOMAIN
