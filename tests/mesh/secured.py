"""The service that has servers with certificates: an xDS-enabled gRPC server, and an Envoy in front of a plain one."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sira.registry.v1.traffic_policy_pb2 import TlsMode, TrafficPolicy

from sira_grpc.nats_server import free_ports
from tests.integration.envoy import ENVOY
from tests.mesh.agent import NAMESPACE
from tests.mesh.builds import ROOT
from tests.mesh.columns import bootstrap
from tests.mesh.endpoint import Endpoint
from tests.mesh.sira_command import sira_process
from tests.mesh.world import SECURED, START_SECONDS, World

GRPC, BEHIND_ENVOY = "grpc", "envoy"
"""Ids of the endpoints: what they answer."""
MUTUAL = TrafficPolicy(tls=TlsMode.TLS_MODE_MUTUAL)


@dataclass(frozen=True)
class Secured:
    """The service.

    Attributes:
        endpoints: ids of its endpoints.
        address: of the gRPC server.
    """

    endpoints: tuple[str, ...]
    address: str


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[Secured]:
    """Has the service for the length of the block, with mutual TLS. Without an Envoy it has the gRPC server only."""
    await world.create(SECURED, MUTUAL)
    environment = await bootstrap("c-core", world, SECURED, secured=True)
    async with AsyncExitStack() as stack:
        port, inbound = free_ports(2)
        address = f"127.0.0.1:{port}"
        await stack.enter_async_context(_server(GRPC, address, environment, world.folder / "secured.log"))
        await stack.enter_async_context(world.registered(SECURED, GRPC, port))
        served = [GRPC]
        if ENVOY is not None:
            await stack.enter_async_context(_behind_envoy(world, inbound))
            served.append(BEHIND_ENVOY)
        yield Secured(tuple(served), address)


@asynccontextmanager
async def _behind_envoy(world: World, inbound: int) -> AsyncIterator[None]:
    """A plain server, reached through a sidecar that registers it."""
    endpoint = Endpoint(BEHIND_ENVOY)
    await endpoint.start()
    options = [
        *("--service", SECURED, "--namespace", NAMESPACE, "--inbound", f"{inbound}:{endpoint.port}"),
        *("--identity", str(world.identities / SECURED), "--host", "127.0.0.1", "--envoy", str(ENVOY)),
    ]
    try:
        async with sira_process(world, "secured-sidecar", "sidecar", *options):
            yield
    finally:
        await endpoint.stop()


@asynccontextmanager
async def _server(id_: str, address: str, environment: Mapping[str, str], log: Path) -> AsyncIterator[None]:
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.mesh.secured_server", id_, address),
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=file,
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_SECONDS):
            assert await process.stdout.readline(), f"it does not serve: see {log}"
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
