"""The floor of pushes: a grpc.aio server that pushes bytes and reads one message. `python -m bench.xds.bare_ads`.

It prints its address. Its methods:

- StreamAggregatedResources of the aggregated discovery service: reads a message and pushes what the last `Load`
  carried; then, at every `Push`, pushes again and reads one message.
- `/bare.Bare/Load` and `/bare.Bare/Push` (unary): as in bench.bare.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc
import uvloop
from grpc import aio

from bench.bare import OPTIONS


class BareAds:
    """The methods."""

    def __init__(self) -> None:
        self._payload = b""
        self._waiting: list[asyncio.Future[None]] = []

    async def stream(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """Pushes for ever."""
        loop = asyncio.get_running_loop()
        await context.read()
        while True:
            await context.write(self._payload)
            if await context.read() is aio.EOF:
                return
            future = loop.create_future()
            self._waiting.append(future)
            await future

    async def load(self, request: bytes, context: Any) -> bytes:
        """Keeps the payload."""
        self._payload = request
        return b""

    async def push(self, request: bytes, context: Any) -> bytes:
        """Wakes every stream."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        return b""

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Returns the handlers of both services."""
        service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
        stream: Any = grpc.stream_stream_rpc_method_handler(self.stream)
        control: dict[str, Any] = {
            "Load": grpc.unary_unary_rpc_method_handler(self.load),
            "Push": grpc.unary_unary_rpc_method_handler(self.push),
        }
        return (
            grpc.method_handlers_generic_handler(service, {"StreamAggregatedResources": stream}),
            grpc.method_handlers_generic_handler("bare.Bare", control),
        )


async def main() -> None:
    """Serves until SIGTERM."""
    server = aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers(BareAds().handlers())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(main())
