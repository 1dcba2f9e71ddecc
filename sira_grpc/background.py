"""The tasks that run behind a subsystem for as long as it is open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from sira_grpc import fencing

log = logging.getLogger(__name__)


class Background:
    """Tasks that must not end by themselves. One that fails is logged, and `failed` set.

    Attributes:
        failed: a task has ended that must not: the subsystem should be stopped and started again.
    """

    def __init__(self) -> None:
        self.failed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def own(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Starts a task. It is no part of the call that happens to start it."""
        task = asyncio.create_task(work, name=name, context=fencing.unfenced())
        task.add_done_callback(self._ended)
        self._tasks.append(task)
        return task

    async def cancel(self, *, but: asyncio.Task[None] | None = None) -> None:
        """Cancels the tasks and waits for their ends, all but one."""
        ending = [task for task in self._tasks if task is not but]
        self._tasks = [task for task in self._tasks if task is but]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)  # what failed has been logged when it did

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.critical("%s ended", task.get_name(), exc_info=error)
            self.failed.set()
