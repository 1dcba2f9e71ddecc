"""NATS JetStream as a peer: the real server, one node, its file store, and nats-py."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.bus.peer_process import running
from bench.bus.shapes import Shape, Timer

SERVER = Path(sys.executable).parent / "nats-server"
SUBJECT = "bench.records"
CONFIG = """
listen: "127.0.0.1:-1"
server_name: "bench"
jetstream {{
  store_dir: "{folder}"
  {sync}
}}
"""
DURABILITIES = {
    "": "page cache; synced every 2 minutes",
    "sync_interval: always": "fsync before the ack",
}


class Nats:
    """Publishes to a stream with one replica.

    Args:
        jetstream: a context of nats-py.
        sync: the line of the configuration that says when it syncs.
    """

    def __init__(self, jetstream: Any, sync: str) -> None:
        self._jetstream = jetstream
        self.name = f"NATS JetStream ({sync or 'sync_interval default'})"
        self.durability = DURABILITIES[sync]

    async def publish(self, shape: Shape, seconds: float) -> float:
        """See Peer. Awaited with `publish`, otherwise with `publish_async`, which nats-py has for this."""
        make, timer = shape.maker(), Timer(seconds)
        waiting: deque[Awaitable[Any]] = deque()
        while timer.more():
            timer.count += 1
            if shape.in_flight == 1:
                await self._jetstream.publish(SUBJECT, make())
                continue
            waiting.append(await self._jetstream.publish_async(SUBJECT, make()))
            if len(waiting) == shape.in_flight:
                await waiting.popleft()
        for sent in waiting:
            await sent
        return timer.rate(shape.records)


@asynccontextmanager
async def serving(folder: Path, sync: str) -> AsyncIterator[Nats]:
    """Runs a server, and a client with a stream.

    Args:
        folder: for its configuration and its data; it is there.
        sync: a line for its configuration, or none.
    """
    # Not installed where the types are checked: it comes with the bench group.
    nats: Any = importlib.import_module("nats")
    config = folder / "nats.conf"
    await asyncio.to_thread(config.write_text, CONFIG.format(folder=folder / "data", sync=sync))
    ready = r"Listening for client connections on (127\.0\.0\.1:\d+)"
    async with running([str(SERVER), "-c", str(config)], ready) as matched:
        client = await nats.connect(f"nats://{matched[1]}")
        try:
            jetstream = client.jetstream()
            await jetstream.add_stream(name="bench", subjects=[SUBJECT], storage="file", num_replicas=1)
            yield Nats(jetstream, sync)
        finally:
            await client.close()
