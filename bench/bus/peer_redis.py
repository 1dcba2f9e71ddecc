"""Redis Streams as a peer: Debian's redis-server where it is installed, and redis-py."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.bus.peer_process import running
from bench.bus.shapes import Shape, Timer

SERVER = "redis-server"
STREAM = "bench"


class Redis:
    """Publishes with XADD.

    Args:
        client: of redis-py.
    """

    name = "Redis Streams (appendfsync always)"
    durability = "fdatasync before the ack"

    def __init__(self, client: Any) -> None:
        self._client = client

    async def publish(self, shape: Shape, seconds: float) -> float:
        """See Peer. What is in flight goes as one pipeline, which is how redis-py has several in flight."""
        make, timer = shape.maker(), Timer(seconds)
        while timer.more():
            if shape.in_flight == 1:
                await self._client.xadd(STREAM, {"p": make()})
            else:
                pipeline = self._client.pipeline(transaction=False)
                for _ in range(shape.in_flight):
                    pipeline.xadd(STREAM, {"p": make()})
                await pipeline.execute()
            timer.count += shape.in_flight
        return timer.rate(shape.records)


def installed() -> bool:
    """Says whether there is a server."""
    return shutil.which(SERVER) is not None


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Redis]:
    """Runs a server and a client, over a Unix socket.

    Args:
        folder: for its data; it is there.
    """
    # Not installed where the types are checked: it comes with the bench group.
    redis: Any = importlib.import_module("redis.asyncio")
    socket = folder / "socket"
    command = [SERVER, "--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]
    async with running(command, "[Rr]eady to accept connections"):
        client = redis.Redis(unix_socket_path=str(socket))
        try:
            yield Redis(client)
        finally:
            await client.aclose()
