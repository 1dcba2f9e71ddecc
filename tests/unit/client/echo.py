"""A small real gRPC server with a method of each shape, and channels to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

Context = grpc.aio.ServicerContext[bytes, bytes]


class Echo:
    """Answers with its name, unless the request says otherwise.

    `wait` holds the call until `release` is set, `fail:<CODE>` fails it; `meta` answers with the metadata `k`.
    """

    def __init__(self, name: str = "echo", credentials: grpc.ServerCredentials | None = None) -> None:
        self._credentials = credentials
        self.name = name.encode()
        self.port = 0
        self.calls = 0
        self.under_way = asyncio.Semaphore(0)
        self.release = asyncio.Event()
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "One": grpc.unary_unary_rpc_method_handler(self._one),
            "Out": grpc.unary_stream_rpc_method_handler(self._out),
            "In": grpc.stream_unary_rpc_method_handler(self._in),
            "Both": grpc.stream_stream_rpc_method_handler(self._both),
        }
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test.Echo", handlers), *self.other_services())
        )
        if self._credentials is None:
            self.port = self._server.add_insecure_port(self.address)
        else:
            self.port = self._server.add_secure_port(self.address, self._credentials)
        await self._server.start()

    def other_services(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """What it serves besides."""
        return ()

    async def stop(self, grace: float | None = None) -> None:
        """Without a grace, breaks every connection as a killed process does."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(grace)

    async def _one(self, request: bytes, context: Context) -> bytes:
        self.calls += 1
        if request == b"wait":
            self.under_way.release()
            await self.release.wait()
        if request.startswith(b"fail:"):
            await context.abort(grpc.StatusCode[request[5:].decode()], "as asked", (("trailing", "yes"),))
        await context.send_initial_metadata((("initial", "yes"),))
        context.set_trailing_metadata((("trailing", "yes"),))
        return dict(context.invocation_metadata() or ())["k"].encode() if request == b"meta" else self.name  # type: ignore[union-attr]  # it is text

    async def _out(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        if request == b"fail":
            await context.abort(grpc.StatusCode.DATA_LOSS, "as asked")
        for i in range(3):
            yield self.name + b"%d" % i

    async def _in(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        return b"".join([self.name, *[request async for request in requests]])

    async def _both(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for request in requests:
            yield self.name + request
