"""The endpoints that are called: gRPC servers in this process, which answer with their names."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

import grpc
from grpc import aio

SERVICE = "mesh.Echo"
METHOD = f"/{SERVICE}/Call"
STOP_SECONDS = 5.0
"""How long a server that is stopped lets calls that are under way go on."""


class EchoServers:
    """The servers. An async context manager: at the end of the block they are stopped."""

    def __init__(self) -> None:
        self._servers: dict[int, aio.Server] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(self.stop(port, 0) for port in list(self._servers)))

    async def start(self, name: str) -> int:
        """Starts one. Returns its port, on loopback."""

        async def call(request: bytes, context: Any) -> bytes:
            return name.encode()

        server = aio.server(options=(("grpc.so_reuseport", 0),))
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            METHOD.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(call)
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self._servers[port] = server
        return port

    async def stop(self, port: int, grace: float = STOP_SECONDS) -> None:
        """Stops one, as a server of gRPC is: calls that are under way may end, and no others come in."""
        await self._servers.pop(port).stop(grace)
