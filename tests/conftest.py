"""What all tests share: the NATS servers, where kernels under test are to run on them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from sira_grpc.nats_servers import NatsCluster
from tests.kernel_store import SERVERS, URL, streams


@pytest.fixture(scope="session")
def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[asyncio.Runner]:
    """Has the servers that SIRA_TEST_ENGINE asks for, for the length of the session."""
    with asyncio.Runner() as runner:
        if not SERVERS:
            yield runner
            return
        cluster = NatsCluster(tmp_path_factory.mktemp("engine"), SERVERS)
        runner.run(cluster.start())
        os.environ[URL] = cluster.url
        yield runner
        runner.run(cluster.stop())


@pytest.fixture(autouse=SERVERS > 0)
def _emptied(_servers: asyncio.Runner) -> Iterator[None]:
    """Has a test leave nothing on the servers: thousands of streams would slow down those that follow."""
    yield
    _servers.run(streams(delete=True))
