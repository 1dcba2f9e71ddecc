"""Authorities are unsealed when they are needed, and again when they have changed."""

from __future__ import annotations

import pytest

from tests.unit.identity.world import ISSUING, RETIRING, World


async def test_an_authority_is_unsealed_once(world: World) -> None:
    keyring = world.identity._opened.keyring
    assert keyring.get(world.issuing) is keyring.issuing()
    assert keyring.trusted() == [keyring.issuing()]
    with pytest.raises(KeyError):
        keyring.get("none")


async def test_a_new_intermediate_is_found(world: World) -> None:
    keyring = world.identity._opened.keyring
    before = keyring.issuing()
    world.clock.advance(world.config.intermediate_ttl * 0.6)
    await world.identity._upkeep.renew_intermediate()
    after = keyring.issuing()
    assert after.id == before.id
    assert after.issuer != before.issuer


async def test_what_is_gone_is_forgotten(world: World) -> None:
    keyring = world.identity._opened.keyring
    old = world.issuing
    await world.identity.rotator.start()
    for stage in (ISSUING, RETIRING, None):
        await world.passes()
        await world.until(lambda stage=stage: world.stage == stage and not (stage and world.live(old)))  # type: ignore[misc]  # the default binds it
    with pytest.raises(KeyError):
        keyring.get(old)
    assert [authority.id for authority in keyring.trusted()] == [world.issuing]
    assert old not in keyring._unsealed
