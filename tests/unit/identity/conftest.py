from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from sira_grpc.config import IdentityConfig
from sira_grpc.store import open_sqlite
from tests.clocks import FakeClock
from tests.unit.identity.crowd import Crowd
from tests.unit.identity.world import DOMAIN, World, Worlds

# How long an example takes is the machine's business, which may be busy.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def config(tmp_path: Path) -> IdentityConfig:
    return IdentityConfig(enabled=True, dir=str(tmp_path / "identity"), trust_domain=DOMAIN)


@pytest.fixture
async def worlds(tmp_path: Path, clock: FakeClock, config: IdentityConfig) -> AsyncIterator[Worlds]:
    """Makes worlds that a test starts by itself."""
    made: list[World] = []

    def make(config: IdentityConfig = config) -> World:
        made.append(World(tmp_path, clock, config))
        return made[-1]

    yield make
    for world in made:
        if world.runs:
            await world.stop()


@pytest.fixture
async def world(worlds: Worlds) -> World:
    made = worlds()
    await made.start()
    return made


@pytest.fixture
async def crowd(tmp_path: Path, clock: FakeClock, config: IdentityConfig) -> AsyncIterator[Crowd]:
    """Makes members on one store that a test starts by itself."""
    store = await open_sqlite(tmp_path / "data", clock=clock)
    made = Crowd(tmp_path, store, config)
    yield made
    for member in made.members:
        if member.runs:
            await member.stop()
    await store.close()
