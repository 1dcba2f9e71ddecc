"""What is opened is closed again, and what is lost is told."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest
from sira.identity.v1.join_token_pb2 import JoinToken

from sira_grpc.errors import ConfigError, SiraError
from sira_grpc.store import Put
from tests.unit.identity.world import PATIENCE, WEB, World


async def test_an_opening_that_fails_leaves_no_task(world: World) -> None:
    await world.stop()
    before = asyncio.all_tasks()
    right = world.config
    world.config = msgspec.structs.replace(right, trust_domain="other.test")
    with pytest.raises(ConfigError):
        await world.start()
    assert asyncio.all_tasks() <= before
    world.config = right
    await world.start()


async def test_what_others_write_moves_the_view_on(world: World) -> None:
    revision = await world.store.commit([Put("registry/x", b"x")])
    await asyncio.wait_for(world.identity.view.caught_up(revision), PATIENCE)


async def test_a_store_that_is_lost_is_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL):
        await world.store.close()
        await asyncio.wait_for(world.identity.failed.wait(), PATIENCE)
    assert "identity view ended" in caplog.text
    with pytest.raises(SiraError):
        await world.identity.tokens.create(JoinToken(identities=[WEB]), ttl=60, actor="")
