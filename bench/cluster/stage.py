"""What the cluster's benchmarks run on: three store nodes, as durable as can be, and members of the kernel."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sira.cluster.v1.cluster_service_pb2 import GetClusterRequest, GetClusterResponse
from sira.cluster.v1.cluster_service_pb2_grpc import ClusterServiceStub

from bench.load import channels
from bench.processes import Server, launch
from sira_grpc.nats_servers import NatsCluster, free_ports

DURABILITY = "3 replicas, fsync on two of them before the ack"
PATIENCE_SECONDS = 20
BEAT_SECONDS = 0.3
"""How often members tell what they serve."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Nodes and members that run.

    Attributes:
        nodes: of the store.
        members: of the kernel.
        folder: for all data.
    """

    nodes: NatsCluster
    members: list[Server]
    folder: Path

    @property
    def addresses(self) -> list[str]:
        """Of the members."""
        return [member.address for member in self.members]

    async def owner(self) -> Server:
        """Returns the member that serves the bus of the only namespace with topics, once that is known."""
        async with channels(self.members[0].address, 1) as (channel,), asyncio.timeout(PATIENCE_SECONDS):
            stub: Any = ClusterServiceStub(channel)
            while True:
                response: GetClusterResponse = await stub.GetCluster(GetClusterRequest())
                serving = [member for member in response.cluster.members if member.bus_namespaces]
                if len(serving) == 1:
                    return next(each for each in self.members if each.address in serving[0].addresses)
                await asyncio.sleep(BEAT_SECONDS)

    async def again(self, number: int) -> None:
        """Starts a member that has ended again, where it was."""
        port = int(self.members[number].address.rpartition(":")[2])
        self.members[number] = await _launch(self.nodes.url, port, self.folder)

    async def stop(self) -> None:
        """Ends the members."""
        for member in self.members:
            await member.stop()


@asynccontextmanager
async def staged(folder: Path, *, members: int) -> AsyncIterator[Stage]:
    """Has a stage for the length of the block.

    Args:
        folder: for all data; it is there.
        members: how many.
    """
    async with AsyncExitStack() as stack:
        nodes = await stack.enter_async_context(NatsCluster(folder / "nodes"))
        stage = Stage(nodes, [], folder)
        stack.push_async_callback(stage.stop)
        for port in free_ports(members):
            stage.members.append(await _launch(nodes.url, port, folder))
        yield stage


async def _launch(url: str, port: int, folder: Path) -> Server:
    """Starts a member. Clients of benchmarks speak plaintext."""
    environment = {
        "SIRA_STORE_URL": url,
        "SIRA_STORE_DATA_DIR": str(folder / f"member-{port}"),
        "SIRA_SERVER_ADDRESSES": f"127.0.0.1:{port}",
        "SIRA_IDENTITY_ENABLED": "false",
        "SIRA_LOG_LEVEL": "error",
    }
    settings = [f"{name}={value}" for name, value in environment.items()]
    return await launch(["env", *settings, sys.executable, "-m", "sira_grpc", "up"])
