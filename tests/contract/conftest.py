"""The one fixture by which an engine enters the contract suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from sira_grpc.nats_servers import NatsCluster
from sira_grpc.store import Store
from tests.contract.engines import Engine, NatsEngine, RinglessNatsEngine, RinglessSqliteEngine, SqliteEngine


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], NatsCluster]]:
    """The NATS servers of the session, by how many there are; each cluster is started when it is first asked for."""
    started: dict[int, NatsCluster] = {}
    with asyncio.Runner() as runner:

        def get(size: int) -> NatsCluster:
            if size not in started:
                started[size] = NatsCluster(tmp_path_factory.mktemp(f"nats{size}"), size)
                runner.run(started[size].start())
            return started[size]

        yield get
        for cluster in started.values():
            runner.run(cluster.stop())


@pytest.fixture(params=["sqlite", "sqlite-ringless", "nats", "nats-ringless", "nats-cluster"])
def engine(request: pytest.FixtureRequest, tmp_path: Path, servers: Callable[[int], NatsCluster]) -> Engine:
    """An engine with no data. Whoever opens it destroys it."""
    if request.param == "nats":
        return NatsEngine(servers(1))
    if request.param == "nats-ringless":
        return RinglessNatsEngine(servers(1))
    if request.param == "nats-cluster":
        return NatsEngine(servers(3))
    return (SqliteEngine if request.param == "sqlite" else RinglessSqliteEngine)(tmp_path / "store")


@pytest.fixture
async def store(engine: Engine) -> AsyncIterator[Store]:
    """An empty store."""
    yield await engine.open()
    await engine.destroy()
