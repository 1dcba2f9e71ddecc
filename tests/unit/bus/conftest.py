from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sira_grpc.bus.dead_letters import DeadLetters
from sira_grpc.config import BusConfig
from sira_grpc.store import open_sqlite
from tests.clocks import FakeClock
from tests.unit.bus.control_world import ControlWorld
from tests.unit.bus.dead_letter_world import TouchyLogs, opened
from tests.unit.bus.members_world import Members
from tests.unit.bus.partition_world import PartitionWorld
from tests.unit.bus.redrive_world import RedriveWorld


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


@pytest.fixture
async def world(control: ControlWorld) -> AsyncIterator[RedriveWorld]:
    made = RedriveWorld(control)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def members(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Members]:
    store = await open_sqlite(tmp_path, clock=clock)
    made = Members(store, clock)
    await made.start()
    yield made
    await made.stop()
    await store.close()


@pytest.fixture
async def logs(tmp_path: Path, clock: FakeClock) -> AsyncIterator[TouchyLogs]:
    store = await open_sqlite(tmp_path, clock=clock)
    yield TouchyLogs(store)
    await store.close()


@pytest.fixture
async def letters(logs: TouchyLogs) -> DeadLetters:
    return await opened(logs)
