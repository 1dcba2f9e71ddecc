"""What the loads of a world have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

import grpc

T = TypeVar("T")
SETTLE_SECONDS = 60
"""After which a world that was healed must have finished what was begun."""
AGAIN_SECONDS = 0.05


class Load(Protocol):
    """Something that clients do while things break, and that knows what must come of it."""

    async def prepare(self) -> None:
        """Creates what it needs, in a world where nothing is broken."""

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """What goes on until it is cancelled."""

    async def finish(self) -> None:
        """In a world that was healed: finishes what was begun, and compares what there is with what must be."""

    async def close(self) -> None:
        """Ends what it has started."""


async def until_done(call: Callable[[], Awaitable[T]]) -> T:
    """Calls until it goes well, and returns the answer.

    Raises:
        TimeoutError: it does not within SETTLE_SECONDS.
    """
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError:
                await asyncio.sleep(AGAIN_SECONDS)
