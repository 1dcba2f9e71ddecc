"""What the matrix runs in: a kernel with identity as a process, an agent beside it, and registered endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1 import registry_service_pb2 as pb
from sira.registry.v1.access_policy_pb2 import AccessPolicy
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy
from sira_client import Client, IdentityFiles, Registration, connect

from sira_grpc.nats_server import free_ports
from tests.faults.member_process import MemberProcess
from tests.mesh import agent
from tests.mesh.agent import NAMESPACE, Agent
from tests.mesh.endpoint import Behaviour, Endpoint

CALLER = "caller"
"""Id of the service that every client runs for."""
STRANGER = "stranger"
"""Id of a service that nobody runs for."""
SECURED = "secured"
"""Id of the service that has servers with certificates."""
START_SECONDS = 30
LEASE_SECONDS = 15


class World:
    """What runs. Made by `running`.

    Attributes:
        folder: for all that is written.
        kernel: the process.
        client: of the operator.
        address, token_door, socket: of the kernel; the last is a Unix socket, in plaintext.
        agent: who keeps the identity directories, once they are there.
        identities: folder of the identity directories, each named after the id of its service.
        ended: how processes ended that nobody has asked to end.
    """

    def __init__(self, folder: Path, kernel: MemberProcess, client: Client, environment: dict[str, str]) -> None:
        self.folder = folder
        self.kernel = kernel
        self.client = client
        self.address = f"127.0.0.1:{kernel.port}"
        self.token_door = environment["SIRA_SERVER_TOKEN_ADDRESSES"]
        self.socket = environment["SIRA_SERVER_ADDRESSES"].partition(",")[2]
        self.identities = folder / "identities"
        self.agent: Agent | None = None

    async def create(self, service: str, policy: TrafficPolicy | None = None) -> None:
        """Creates a service, without endpoints."""
        made = Service(name=service_name(service), traffic_policy=policy)
        await self.client.registry.CreateService(pb.CreateServiceRequest(service=made))

    async def change(self, service: str, **fields: TrafficPolicy | AccessPolicy | None) -> None:
        """Changes what is named of a service: `traffic_policy`, `access_policy`; None takes it away."""
        given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
        changed = Service(name=service_name(service), **given)
        request = pb.UpdateServiceRequest(service=changed, update_mask=FieldMask(paths=list(fields)))
        await self.client.registry.UpdateService(request)

    @asynccontextmanager
    async def endpoint(
        self, service: str, id_: str, *, behaviour: Behaviour | None = None, **terms: Any
    ) -> AsyncIterator[Served]:
        """Has an endpoint for the length of the block, registered until its end.

        Args:
            service: its id.
            id_: of the endpoint.
            behaviour: how it answers; None for well.
            terms: further ones of the registration.
        """
        endpoint = Endpoint(id_, behaviour or Behaviour())
        await endpoint.start()
        try:
            async with self.registered(service, id_, endpoint.port, **terms) as registration:
                yield Served(endpoint, registration)
        finally:
            await endpoint.stop()

    def registered(self, service: str, id_: str, port: int, **terms: Any) -> Registration:
        """A registration on loopback, for the length of a block."""
        own = {"namespace": NAMESPACE, "address": "127.0.0.1", "ttl": LEASE_SECONDS, "drain_timeout": 0, **terms}
        return self.client.register(service, endpoint_id=id_, port=port, **own)

    async def restart(self, away: float = 0) -> None:
        """Kills the kernel, and has it come back after so many seconds."""
        self.kernel.kill()
        await asyncio.sleep(away)
        await self.kernel.start()
        async with asyncio.timeout(START_SECONDS):
            await self.kernel.ready()


class Served:
    """An endpoint and its registration.

    Attributes:
        endpoint, registration: them.
        behaviour: how it answers; may be changed.
    """

    def __init__(self, endpoint: Endpoint, registration: Registration) -> None:
        self.endpoint = endpoint
        self.registration = registration
        self.behaviour = endpoint.behaviour


def service_name(service: str) -> str:
    """The resource name of a service of the matrix."""
    return f"namespaces/{NAMESPACE}/services/{service}"


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[World]:
    """Has a world for the length of the block."""
    ended: list[str] = []
    port, token_port = free_ports(2)
    environment = {
        "SIRA_SERVER_ADDRESSES": f"127.0.0.1:{port},unix:{folder}/kernel.sock",
        "SIRA_SERVER_TOKEN_ADDRESSES": f"127.0.0.1:{token_port}",
        "SIRA_SERVER_DRAIN_GRACE": "1",
        # Clients of Node.js and Java have no certificate for the kernel: they come by the socket, and only read.
        "SIRA_AUTHORIZATION_ANONYMOUS": "read",
        "SIRA_STORE_DATA_DIR": str(folder / "data"),
        "SIRA_IDENTITY_DIR": str(folder / "identity"),
        "SIRA_IDENTITY_ROTATION_MIN_STAGE": "0",
        "SIRA_LOG_LEVEL": "warning",
    }
    (folder / "identities").mkdir()
    async with AsyncExitStack() as stack:
        kernel = MemberProcess("kernel", port, folder, environment, ended.append)
        stack.push_async_callback(kernel.close)
        await kernel.start()
        async with asyncio.timeout(START_SECONDS):
            await kernel.ready()
        operator = IdentityFiles(folder / "identity" / "operator")
        client = await stack.enter_async_context(connect(f"127.0.0.1:{port}", identity=operator))
        world = World(folder, kernel, client, environment)
        namespace = Namespace(name=f"namespaces/{NAMESPACE}")
        await client.registry.CreateNamespace(pb.CreateNamespaceRequest(namespace=namespace))
        everybody = (CALLER, STRANGER, SECURED)
        running_agent = agent.running(client, world.address, world.token_door, everybody, world.identities)
        world.agent = await stack.enter_async_context(running_agent)
        yield world
    assert not ended, ended
