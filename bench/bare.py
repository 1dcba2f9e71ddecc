"""The floor: a grpc.aio server that does nothing but move bytes. `python -m bench.bare`; prints its address.

It has the options of the kernel that decide speed; no interceptors, validation, parsing or store. Its methods:

- `/bare.Bare/Answer` (unary): answers with what the last `Load` carried, whatever is asked.
- `/bare.Bare/Load` (unary): keeps the bytes to answer with and to push.
- `/bare.Bare/Follow` (server stream): answers once, then pushes at every `Push`.
- `/bare.Bare/Push` (unary): pushes to every open stream.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc
import uvloop
from grpc import aio

OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
)


class Bare:
    """The methods."""

    def __init__(self) -> None:
        self._payload = b""
        self._waiting: list[asyncio.Future[None]] = []

    async def answer(self, request: bytes, context: Any) -> bytes:
        """Answers."""
        return self._payload

    async def load(self, request: bytes, context: Any) -> bytes:
        """Keeps the payload."""
        self._payload = request
        return b""

    async def follow(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """Pushes for ever."""
        loop = asyncio.get_running_loop()
        while True:
            yield self._payload
            future = loop.create_future()
            self._waiting.append(future)
            await future

    async def push(self, request: bytes, context: Any) -> bytes:
        """Wakes every stream."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        return b""

    def handler(self) -> grpc.GenericRpcHandler:
        """Returns the handler of the service."""
        return grpc.method_handlers_generic_handler(
            "bare.Bare",
            {
                "Answer": grpc.unary_unary_rpc_method_handler(self.answer),
                "Load": grpc.unary_unary_rpc_method_handler(self.load),
                "Follow": grpc.unary_stream_rpc_method_handler(self.follow),
                "Push": grpc.unary_unary_rpc_method_handler(self.push),
            },
        )


async def main() -> None:
    """Serves until SIGTERM."""
    server = aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((Bare().handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(main())
