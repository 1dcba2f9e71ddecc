"""Writes what is handed to it in batches, one at a time: a batch is what came while the last one was being written."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from sira_grpc import fencing

log = logging.getLogger(__name__)

T = TypeVar("T")


class Pump(Generic[T]):
    """A queue and the task that empties it; the task is there only while there is something to write.

    Args:
        write: writes a batch and tells everyone who waits for it, of failure too; what it raises is a defect.
        name: of the task.
        max_items, max_bytes: of a batch; one item may be larger.
        spacing: seconds from the beginning of one batch to that of the next, at least.
    """

    def __init__(
        self,
        write: Callable[[list[T]], Awaitable[None]],
        name: str,
        *,
        max_items: int,
        max_bytes: int,
        spacing: float = 0.0,
    ) -> None:
        self._write = write
        self._name = name
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._spacing = spacing
        self._next_at = 0.0
        self._waiting: deque[tuple[T, int]] = deque()
        self._task: asyncio.Task[None] | None = None

    def put(self, item: T, size: int) -> None:
        """Queues an item of a size in bytes."""
        self._waiting.append((item, size))
        if self._task is None:
            # It writes for everybody, not for the call that came first.
            self._task = asyncio.create_task(self._run(), name=self._name, context=fencing.unfenced())
            self._task.add_done_callback(_report)

    async def idle(self) -> None:
        """Returns when everything that was queued has been written."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._waiting:
                if self._spacing:
                    await self._space()
                await self._write(self._next_batch())
        finally:
            self._task = None  # at once: what is queued from here on begins another

    async def _space(self) -> None:
        """Waits until the next batch may begin."""
        now = asyncio.get_running_loop().time()
        if self._next_at > now:
            await asyncio.sleep(self._next_at - now)
        self._next_at = max(now, self._next_at) + self._spacing

    def _next_batch(self) -> list[T]:
        batch: list[T] = []
        total = 0
        while self._waiting and len(batch) < self._max_items:
            item, size = self._waiting[0]
            if batch and total + size > self._max_bytes:
                break
            self._waiting.popleft()
            batch.append(item)
            total += size
        return batch


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("%s ended", task.get_name(), exc_info=error)
