from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sira_grpc.config import BusConfig
from tests.clocks import FakeClock
from tests.unit.bus.control_world import ControlWorld
from tests.unit.bus.partition_world import PartitionWorld


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bus_config() -> BusConfig:
    return BusConfig(max_topics_per_namespace=20, max_subscriptions_per_namespace=20)


@pytest.fixture
async def control(tmp_path: Path, clock: FakeClock, bus_config: BusConfig) -> AsyncIterator[ControlWorld]:
    world = ControlWorld(tmp_path, clock, bus_config)
    await world.start()
    yield world
    await world.stop()


@pytest.fixture
async def partition_world(tmp_path: Path, clock: FakeClock) -> AsyncIterator[PartitionWorld]:
    world = PartitionWorld(tmp_path, clock)
    await world.start()
    yield world
    await world.stop()
