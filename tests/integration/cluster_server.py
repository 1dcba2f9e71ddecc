"""Members of a cluster on one real store, each with a real server in front of it, and a link that can be cut."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sira.cluster.v1.cluster_service_pb2 import GetClusterRequest, WatchClusterRequest
from sira.cluster.v1.cluster_service_pb2_grpc import ClusterServiceStub, add_ClusterServiceServicer_to_server
from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceStub

from sira_grpc.clock import SystemClock
from sira_grpc.cluster.cluster import Cluster
from sira_grpc.config import ClusterConfig, KernelConfig, ServerConfig, TelemetryConfig
from sira_grpc.rpc.cluster_servicer import ClusterServicer
from sira_grpc.rpc.server import RpcServer
from sira_grpc.store import Store
from sira_grpc.telemetry import open_telemetry
from tests.integration.edge_server import Script, add_script
from tests.unit.cluster.cluster_world import Link

# As short as they may be: what is tested waits for them.
SHORT = ClusterConfig(heartbeat_interval=0.05, member_timeout=0.15, store_timeout=0.3)


@dataclass
class Served:
    """A member that is served, and a plaintext client of it."""

    cluster: Cluster
    server: RpcServer
    link: Link
    channel: aio.Channel

    @property
    def stub(self) -> Any:
        return ClusterServiceStub(self.channel)

    @property
    def resolver(self) -> Any:
        return ResolverServiceStub(self.channel)

    async def read(self) -> Any:
        return (await self.stub.GetCluster(GetClusterRequest())).cluster

    def watch(self) -> Any:
        return self.stub.WatchCluster(WatchClusterRequest())

    def health(self) -> Any:
        return health_pb2_grpc.HealthStub(self.channel).Watch(health_pb2.HealthCheckRequest())


@asynccontextmanager
async def member(store: Store, name: str, *, config: ClusterConfig = SHORT) -> AsyncIterator[Served]:
    """Serves a member until the block ends, in the order in which a kernel does."""
    clock, link = SystemClock(), Link(store, shared=True)
    kernel = KernelConfig(server=ServerConfig(addresses=("127.0.0.1:0",), drain_grace=0.01))
    async with AsyncExitStack() as stack:
        telemetry = await asyncio.to_thread(open_telemetry, TelemetryConfig(), version="0")
        stack.push_async_callback(asyncio.to_thread, telemetry.close)
        cluster = Cluster(
            cast(Store, link),
            config,
            member=name,
            version="0",
            host="here",
            clock=clock,
            random_bytes=secrets.token_bytes,
        )
        stack.push_async_callback(cluster.close)
        await cluster.start()
        server = RpcServer(
            kernel,
            [(add_ClusterServiceServicer_to_server, ClusterServicer(cluster.status)), (add_script, Script())],
            telemetry=telemetry,
            clock=clock,
            rng=random.Random(7),
            new_id=lambda: "id",
        )
        server.mark_reads(cluster.store_watch.age)
        stack.push_async_callback(server.stop)
        stack.push_async_callback(cluster.leave)
        await server.start()
        await cluster.announce(server.addresses)
        cluster.store_watch.changed.append(server.available)
        server.available(not cluster.store_watch.lost)
        channel = await stack.enter_async_context(aio.insecure_channel(server.addresses[0]))
        yield Served(cluster, server, link, channel)
