"""A service as a process of its own: says who it is, and holds calls back until it is told to let them go.

Arguments: the port, and what to be called. SIGUSR1 has it say that it is not well.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE = "test.App"


async def _serve(port: int, name: str) -> None:
    release = asyncio.Event()

    async def who(request: bytes, context: Any) -> bytes:
        return name.encode()

    async def hold(request: bytes, context: Any) -> bytes:
        print("holding", flush=True)
        await release.wait()
        return name.encode()

    async def let_go(request: bytes, context: Any) -> bytes:
        release.set()
        return b""

    async def caller(request: bytes, context: Any) -> bytes:
        metadata = dict(context.invocation_metadata())
        return str(metadata.get("x-forwarded-client-cert", "")).encode()

    methods = {"Who": who, "Hold": hold, "LetGo": let_go, "Caller": caller}
    handlers: dict[str, Any] = {each: grpc.unary_unary_rpc_method_handler(method) for each, method in methods.items()}
    server = aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
    wellness = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(wellness, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    ill = health_pb2.HealthCheckResponse.NOT_SERVING
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, lambda: loop.create_task(wellness.set("", ill)))
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2]))
