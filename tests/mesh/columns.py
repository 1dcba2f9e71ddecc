"""The columns of the matrix: unmodified gRPC clients of four languages, and Envoys with a plain client behind each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.nats_server import free_ports
from sira_grpc.xds.node import C_CORE, ENVOY, GO, JAVA, NODE_JS
from tests.integration.envoy import ENVOY as ENVOY_BINARY
from tests.mesh import builds
from tests.mesh.agent import NAMESPACE
from tests.mesh.line_client import LineClient, running
from tests.mesh.sira_command import sira, sira_process
from tests.mesh.world import CALLER, World

REGION, ZONE = "eu", "eu-a"
"""Where every client is."""
REFRESH = "1s"
"""How often clients look at the files of their identities again: sooner than by default, not to have the run wait."""


@dataclass(frozen=True)
class Column:
    """A kind of client.

    Attributes:
        name: short, for the command line.
        title: for people.
        kind: what it is built on, as the kernel sees it.
        language: of the client program.
        bootstrap: what `sira bootstrap` calls it; of an Envoy the variant of the protocol that it speaks.
        secured: whether it can show the kernel a certificate; otherwise it comes by the Unix socket.
    """

    name: str
    title: str
    kind: ClientKind.ValueType
    language: str
    bootstrap: str
    secured: bool = True

    @property
    def envoy(self) -> bool:
        """Whether it is an Envoy."""
        return self.kind == ENVOY

    def missing(self) -> str:
        """Why it cannot run here; empty if it can. Builds its program."""
        if self.envoy and ENVOY_BINARY is None:
            return "there is no Envoy: see .venv-envoy"
        return "" if builds.build(self.language) else f"the tools of {self.language} are not installed"


COLUMNS = (
    Column("python", "Python", C_CORE, "python", "c-core"),
    Column("go", "Go", GO, "go", "go"),
    Column("java", "Java", JAVA, "java", "java", secured=False),
    Column("node", "Node", NODE_JS, "node", "node", secured=False),
    Column("envoy-sotw", "Envoy SotW", ENVOY, "python", "sotw"),
    Column("envoy-delta", "Envoy delta", ENVOY, "python", "delta"),
)


class Caller:
    """A client of a column that runs.

    Attributes:
        column: see Column.
        client: the program.
    """

    def __init__(self, column: Column, client: LineClient, egress: int = 0) -> None:
        self.column = column
        self.client = client
        self._egress = egress

    async def open(self, channel: str, name: str) -> None:
        """Opens a channel to a service, by the name that clients know it by: `{svc}.{ns}` or `{svc}`."""
        fields: dict[str, Any] = {"target": f"xds:///{name}", "creds": "xds"}
        if self._egress:
            fields = {"target": f"dns:///127.0.0.1:{self._egress}", "authority": name}
        await self.client.ask("open", channel, **fields)


@asynccontextmanager
async def calling(column: Column, world: World) -> AsyncIterator[Caller]:
    """Runs a client of a column for the length of the block."""
    command = builds.build(column.language)
    assert command, column.missing()
    async with AsyncExitStack() as stack:
        egress, environment = 0, dict[str, str]()
        if column.envoy:
            egress = await stack.enter_async_context(_sidecar(column, world))
        else:
            environment = await bootstrap(column.bootstrap, world, CALLER, secured=column.secured)
        log = world.folder / f"{column.name}.log"
        yield Caller(column, await stack.enter_async_context(running(command, environment, log)), egress)


async def bootstrap(kind: str, world: World, service: str, *, secured: bool) -> dict[str, str]:
    """Has `sira bootstrap` write the bootstrap of somebody with an identity. Returns the environment that it needs."""
    file = world.folder / f"{service}-{kind}.json"
    place = ("--region", REGION, "--zone", ZONE, "--id", f"{service}-{kind}")
    server = world.address if secured else world.socket
    options = ("--kind", kind, "--identity", str(world.identities / service), "--server", server, "--file", str(file))
    environment: dict[str, str] = json.loads(await sira(world, "-o", "json", "bootstrap", *options, *place))[
        "environment"
    ]
    await asyncio.to_thread(_hurry, file)
    return environment


def _hurry(file: Path) -> None:
    """Has the files of the identity looked at more often than `sira bootstrap` says."""
    document = json.loads(file.read_text())
    for provider in document["certificate_providers"].values():
        provider["config"]["refresh_interval"] = REFRESH
    file.write_text(json.dumps(document))


@asynccontextmanager
async def _sidecar(column: Column, world: World) -> AsyncIterator[int]:
    """Runs a sidecar that only takes calls to others. Yields its port."""
    (port,) = free_ports(1)
    options = [
        *("--service", CALLER, "--namespace", NAMESPACE, "--egress", str(port), f"--{column.bootstrap}"),
        *("--identity", str(world.identities / CALLER), "--region", REGION, "--zone", ZONE),
        *("--envoy", str(ENVOY_BINARY)),
    ]
    async with sira_process(world, column.name, "sidecar", *options):
        yield port
