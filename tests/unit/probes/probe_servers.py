"""Real servers on loopback that probes are tried on: well, ill, silent, broken."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as aio_health
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthCheck

from tests.unit.probes.certificates import Certificate

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

GRPC_SERVING = health_pb2.HealthCheckResponse.SERVING
GRPC_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def endpoint(port: int, check: HealthCheck, *, address: str = "127.0.0.1", name: str = "e1") -> Endpoint:
    """An endpoint on loopback."""
    return Endpoint(name=name, addresses=[address], port=port, health_check=check)


def impatient(check: HealthCheck) -> HealthCheck:
    """The check with the shortest timeout that is well above what an answer takes."""
    check.timeout.FromMilliseconds(100)
    return check


@contextmanager
def unused_port(address: str = "127.0.0.1") -> Iterator[int]:
    """A port where nobody listens as long as this lasts."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as taken:
        taken.bind((address, 0))
        yield taken.getsockname()[1]


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port that answers no connection: its queue of connections is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for client in (first, second):
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.connect(listener.getsockname())
        yield listener.getsockname()[1]


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process has all the files open that it may have."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[socket.socket] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        with suppress(OSError):
            while True:
                held.append(socket.socket())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for taken in held:
            taken.close()


@asynccontextmanager
async def stream_server(
    handler: Handler, *, address: str = "127.0.0.1", certificate: Certificate | None = None
) -> AsyncIterator[int]:
    """A TCP server on a free port; its connections end with it."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(ConnectionError, EOFError, asyncio.CancelledError):
                await handler(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handle, address, 0, ssl=certificate.server_context() if certificate else None)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accepts, and says nothing for ever."""
    await asyncio.Event().wait()


@dataclass
class HealthServer:
    """A gRPC server with the real grpc.health.v1."""

    server: grpc.aio.Server
    port: int
    health: aio_health.HealthServicer = field(default_factory=aio_health.HealthServicer)

    async def say(self, status: int, service: str = "") -> None:
        """Sets what it says of itself."""
        await self.health.set(service, status)


@asynccontextmanager
async def grpc_server(
    *, certificate: Certificate | None = None, port: int = 0, address: str = "127.0.0.1"
) -> AsyncIterator[HealthServer]:
    """A gRPC server with the real grpc.health.v1, SERVING."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    health = aio_health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    async with started(server, f"{address}:{port}", certificate) as bound:
        yield HealthServer(server, bound, health)


Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Check: TypeAlias = "Callable[[bytes, Context], Awaitable[bytes]]"
Watch: TypeAlias = "Callable[[bytes, Context], AsyncIterator[bytes]]"


@asynccontextmanager
async def bare_grpc_server(check: Check | None = None, watch: Watch | None = None) -> AsyncIterator[int]:
    """A gRPC server whose grpc.health.v1 has only the given methods: none, where neither is given."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
    if check is not None:
        handlers["Check"] = grpc.unary_unary_rpc_method_handler(check)
    if watch is not None:
        handlers["Watch"] = grpc.unary_stream_rpc_method_handler(watch)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),))
    async with started(server, "127.0.0.1:0", None) as port:
        yield port


@asynccontextmanager
async def started(server: grpc.aio.Server, address: str, certificate: Certificate | None) -> AsyncIterator[int]:
    """Starts a server and stops it hard."""
    if certificate is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, certificate.server_credentials())
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)
