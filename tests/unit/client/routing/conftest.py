from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sira_client.routing import RetryPolicy

from tests.unit.client.echo import Echo
from tests.unit.client.routing.routes import Channel, Direct, InOrder, Make


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    server = Echo()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def second() -> AsyncIterator[Echo]:
    server = Echo("second")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def router(echo: Echo, second: Echo) -> AsyncIterator[InOrder]:
    made = InOrder(Direct(echo.address), Direct(second.address))
    yield made
    for route in made.routes:
        await route.channel.close()


@pytest.fixture
async def make(router: InOrder) -> AsyncIterator[Make]:
    made: list[Channel] = []

    def one(retry: RetryPolicy | None = None, default_timeout: float | None = 20, **more: Any) -> Channel:
        made.append(Channel(router, retry=retry or RetryPolicy(), default_timeout=default_timeout, **more))
        return made[-1]

    yield one
    for channel in made:
        await channel.close()
