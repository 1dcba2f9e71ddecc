"""A real kernel in this process, and real clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import aio
from sira.kernel.v1.kernel_service_pb2 import GetStatusRequest, KernelStatus
from sira.kernel.v1.kernel_service_pb2_grpc import KernelServiceStub
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.registry_service_pb2 import RegisterEndpointsRequest, RegisterEndpointsResponse
from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from sira.registry.v1.resolver_service_pb2 import WatchRequest, WatchResponse
from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceStub

from sira_grpc.clock import Clock
from sira_grpc.cluster.names import PREFIX
from sira_grpc.config import KernelConfig, RegistryConfig, ServerConfig
from sira_grpc.kernel import Kernel
from sira_grpc.store.api import Put
from tests.clocks import FakeClock
from tests.kernel_store import SERVERS, store_config

SERVICE = "namespaces/default/services/web"
DETAILS = "grpc-status-details-bin"


@dataclass
class Running:
    """A kernel and a connection to it."""

    kernel: Kernel
    channel: aio.Channel

    @property
    def registry(self) -> Any:
        return RegistryServiceStub(self.channel)

    @property
    def resolver(self) -> Any:
        return ResolverServiceStub(self.channel)

    async def status(self) -> KernelStatus:
        stub: Any = KernelServiceStub(self.channel)
        response = await stub.GetStatus(GetStatusRequest())
        status: KernelStatus = response.status
        return status

    async def standing(self) -> KernelStatus:
        """The status, with the revision of the last change that was asked for.

        On a shared store members write heartbeats on their own, too, and share out duties: what is below `cluster/`.
        """
        status = await self.status()
        if SERVERS:
            status.revision = await self._last_change()
        return status

    async def _last_change(self) -> int:
        registry = self.kernel.registry
        assert registry is not None
        snapshot = await registry._store.snapshot("")
        written = [(entry.key, entry.revision) for entry in snapshot.entries]
        return max(revision for key, revision in (*written, *snapshot.deleted) if not key.startswith(PREFIX))

    async def elapse(self, clock: FakeClock, seconds: int) -> None:
        """Lets time pass: on a shared store in steps with a write in each, as a leap looks as if it had stalled."""
        registry = self.kernel.registry
        assert registry is not None
        for _ in range(seconds if SERVERS else 0):
            clock.advance(1)
            await registry.commits.write([Put("tests/pulse", b"")])
        clock.advance(0 if SERVERS else seconds)

    async def register(self, *endpoints: Endpoint, **fields: Any) -> RegisterEndpointsResponse:
        request = RegisterEndpointsRequest(endpoints=endpoints, allow_missing_service=True, **fields)
        response: RegisterEndpointsResponse = await self.registry.RegisterEndpoints(request)
        return response

    def watch(self, service: str = SERVICE, *, start: int = 0) -> View:
        return View(self.resolver.Watch(WatchRequest(service=service, start_revision=start)))


class View:
    """The endpoints of a service, as a stream tells of them."""

    def __init__(self, stream: Any, endpoints: dict[str, Endpoint] | None = None) -> None:
        self.stream = stream
        self.endpoints = dict(endpoints or {})
        self.revision = 0
        self._more = False

    async def read(self) -> WatchResponse:
        response = await self.stream.read()
        assert isinstance(response, WatchResponse), "the stream has ended"
        if response.HasField("snapshot") and not self._more:
            self.endpoints = {}
        self._more = response.snapshot.more
        for endpoint in (*response.snapshot.endpoints, *response.changes.upserted):
            self.endpoints[endpoint.name.rpartition("/")[2]] = endpoint
        for name in response.changes.deleted:
            del self.endpoints[name.rpartition("/")[2]]
        self.revision = max(self.revision, response.revision)
        return response

    async def until(self, condition: Callable[[dict[str, Endpoint]], bool]) -> None:
        """Reads until a condition holds."""
        while not self.revision or not condition(self.endpoints):
            await self.read()


def endpoint(id_: str = "a", *, service: str = SERVICE, port: int = 80) -> Endpoint:
    return Endpoint(name=f"{service}/endpoints/{id_}", addresses=[f"{id_}.example"], port=port)


@asynccontextmanager
async def running(
    path: Path, *, clock: Clock | None = None, registry: RegistryConfig | None = None, **server: Any
) -> AsyncIterator[Running]:
    """Runs a kernel on a data directory, at a port that the system chooses. It stops before its clients let go."""
    config = KernelConfig(
        server=ServerConfig(addresses=("127.0.0.1:0",), drain_grace=5, **server),
        store=store_config(path),
        registry=registry or RegistryConfig(),
    )
    async with AsyncExitStack() as stack:
        kernel = Kernel(config, clock=clock)
        async with kernel:
            channel = await stack.enter_async_context(aio.insecure_channel(kernel.addresses[0]))
            yield Running(kernel, channel)


def reason_of(error: aio.AioRpcError) -> str:
    """The documented reason of an error; empty where it has none."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS:
            for detail in Status.FromString(value).details:
                info = ErrorInfo()
                if detail.Unpack(info):
                    assert info.domain == "sira"
                    return str(info.reason)
    return ""


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    """Awaits a call that must fail, and returns its code and reason."""
    try:
        await call
    except aio.AioRpcError as error:
        return error.code(), reason_of(error)
    raise AssertionError("the call did not fail")
