"""The floor: the store's own client, which publishes to a stream of its own beside the kernel's."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import nats

STREAM = "bench"
SUBJECT = "bench.frames"


class BareStore:
    """Publishes with nats-py to a stream with three replicas.

    Args:
        jetstream: a context of nats-py.
    """

    def __init__(self, jetstream: Any) -> None:
        self._jetstream = jetstream

    async def flood(self, make: Callable[[], bytes], *, window: int, seconds: float) -> float:
        """Publishes with so many in flight and returns the messages acknowledged a second."""
        waiting: deque[Awaitable[Any]] = deque()
        begun, count = time.perf_counter(), 0
        while time.perf_counter() < begun + seconds:
            waiting.append(await self._jetstream.publish_async(SUBJECT, make()))
            count += 1
            if len(waiting) == window:
                await waiting.popleft()
        for sent in waiting:
            await sent
        return count / (time.perf_counter() - begun)

    async def publish(self, data: bytes) -> None:
        """Publishes one message, and waits until it is durable."""
        await self._jetstream.publish(SUBJECT, data)


@asynccontextmanager
async def bare_store(url: str) -> AsyncIterator[BareStore]:
    """Has a client for the length of the block.

    Args:
        url: of the nodes.
    """
    client = await nats.connect(url.split(","), pending_size=64 << 20)
    try:
        jetstream = client.jetstream(timeout=10)
        await jetstream.add_stream(name=STREAM, subjects=[SUBJECT], storage="file", num_replicas=3)
        yield BareStore(jetstream)
    finally:
        await client.close()
