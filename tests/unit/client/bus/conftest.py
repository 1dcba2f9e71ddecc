from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

import pytest
from sira_client import Client, Settings, connect_insecure
from sira_client.bus import Bus
from sira_client.clock import SystemClock

from tests.unit.client.bus.bus_double import BusDouble
from tests.unit.client.bus.partitions import Partition
from tests.unit.client.bus.streams import KnownSubscription


class SteppedClock(SystemClock):
    """The machine's clock, which a test can put forward."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def time_ns(self) -> int:
        return super().time_ns() + self.ahead_ns


@pytest.fixture
async def double() -> AsyncIterator[BusDouble]:
    running = BusDouble()
    await running.start()
    yield running
    running.answering.set()
    running.consumers.settling.set()
    await running.stop()


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def bus_client(double: BusDouble, clock: SteppedClock) -> AsyncIterator[Client]:
    settings = Settings(first_backoff=0.005, longest_backoff=0.05, random=Random(5), clock=clock)
    async with connect_insecure(double.address, settings=settings) as connected:
        yield connected


@pytest.fixture
def bus(bus_client: Client) -> Bus:
    return bus_client.bus()


@pytest.fixture
def partition(double: BusDouble) -> Partition:
    return double.add_topic("orders")[0]


@pytest.fixture
def billing(double: BusDouble, partition: Partition) -> KnownSubscription:
    return double.add_subscription("billing")
