from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sira_grpc.config import RegistryConfig
from tests.clocks import FakeClock
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
