from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

import pytest
from sira_client import Client, Settings, connect_insecure

from tests.unit.client.in_memory_kernel import InMemoryKernel


@pytest.fixture
async def kernel() -> AsyncIterator[InMemoryKernel]:
    running = InMemoryKernel()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def settings() -> Settings:
    """Short back-off, so that tests are quick, and chance that repeats."""
    return Settings(first_backoff=0.005, longest_backoff=0.05, random=Random(5))


@pytest.fixture
async def client(kernel: InMemoryKernel, settings: Settings) -> AsyncIterator[Client]:
    async with connect_insecure(kernel.address, settings=settings) as connected:
        yield connected
