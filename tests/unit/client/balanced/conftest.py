from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.client.balanced.echo_service import (
    endpoint,
    service,
)
from tests.unit.client.echo import Echo
from tests.unit.client.in_memory_kernel import InMemoryKernel


@pytest.fixture
async def echoes() -> AsyncIterator[list[Echo]]:
    started = [Echo(name) for name in ("a", "b", "c")]
    for echo in started:
        await echo.start()
    yield started
    for echo in started:
        await echo.stop()


@pytest.fixture
async def served(kernel: InMemoryKernel, echoes: list[Echo]) -> InMemoryKernel:
    """Three healthy endpoints."""
    await kernel.put(*(endpoint(echo) for echo in echoes), service=service())
    return kernel
