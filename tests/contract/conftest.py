"""The one fixture by which an engine enters the contract suite."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sira_grpc.store import Store
from tests.contract.engines import Engine, RinglessSqliteEngine, SqliteEngine


@pytest.fixture(params=[SqliteEngine, RinglessSqliteEngine])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """An engine with no data. Whoever opens it destroys it."""
    made: Engine = request.param(tmp_path / "store")
    return made


@pytest.fixture
async def store(engine: Engine) -> AsyncIterator[Store]:
    """An empty store."""
    yield await engine.open()
    await engine.destroy()
