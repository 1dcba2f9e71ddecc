from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from tests.unit.client.identity.said import Said
from tests.unit.client.identity.trust import Root
from tests.unit.client.identity.world import World, world


@pytest.fixture(scope="session")
def root() -> Root:
    return Root()


@pytest.fixture(scope="session")
def next_root() -> Root:
    return Root("next root")


@pytest.fixture
async def said() -> AsyncIterator[Said]:
    handler = Said()
    logger = logging.getLogger("sira_client")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
async def here(root: Root) -> AsyncIterator[World]:
    """Without endpoints."""
    async with world(root, endpoints=0) as made:
        yield made
