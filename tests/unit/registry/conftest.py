from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sira_grpc.config import RegistryConfig
from sira_grpc.registry import expiry
from sira_grpc.store import open_sqlite
from tests.clocks import FakeClock
from tests.unit.registry.members import Cluster
from tests.unit.registry.world import World


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def config() -> RegistryConfig:
    return RegistryConfig()


@pytest.fixture
async def world(tmp_path: Path, clock: FakeClock, config: RegistryConfig) -> AsyncIterator[World]:
    made = World(tmp_path, clock, config)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def cluster(
    tmp_path: Path, clock: FakeClock, config: RegistryConfig, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Cluster]:
    """Members on one store. They sweep when a test says so only."""
    monkeypatch.setattr(expiry, "SWEEP_SECONDS", 3600.0)
    store = await open_sqlite(tmp_path, clock=clock)
    made = Cluster(tmp_path, store, clock, config)
    yield made
    for member in made.members:
        await member.stop()
    await store.close()
