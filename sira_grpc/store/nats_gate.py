"""Whether writes are let in: once one has run out of time, none is until the cluster has taken a small one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sira_grpc.errors import StoreUnavailable
from sira_grpc.store.budget import ByteBudget
from sira_grpc.store.nats_errors import Lost, Refused, closed, unavailable

WAITING_BYTES = 64 << 20
"""Writes that are under way together; what comes beyond that waits, until time is up for it too."""
PROBE_SECONDS = 0.25


class Gate:
    """Used in the event loop alone.

    Args:
        write_timeout: seconds that a write may take.
        behind: another gate that must be open, too. This one then lets in what it may, as a part of the store may be
            lost alone, and has the other looked after when a write has run out of time.

    Attributes:
        writable: writes are let in.
    """

    def __init__(self, write_timeout: float, behind: Gate | None = None) -> None:
        self.writable = True
        self._behind = behind
        self._write_timeout = write_timeout
        self._budget = ByteBudget(WAITING_BYTES)
        self._shut = asyncio.Event()
        self._closed = False
        self._under_way: set[asyncio.Task[int]] = set()

    def deadline(self) -> float:
        """When a write that begins now has to be done, in the event loop's time."""
        return asyncio.get_running_loop().time() + self._write_timeout

    def check_open(self) -> None:
        """Raises StoreUnavailable if the store was closed."""
        if self._closed:
            raise closed()

    def check(self) -> None:
        """Raises StoreUnavailable if the store was closed, or does not take writes now."""
        self.check_open()
        if not (self._behind or self).writable:
            raise unavailable("it takes no writes now")

    async def run(self, size: int, write: Callable[[], Awaitable[int]]) -> int:
        """Lets a write of so many bytes in and runs it to its end, whether its caller stays or goes away.

        Raises:
            StoreUnavailable: the store is closed, or takes no writes now.
        """
        self.check()
        await self._take(size)
        task = asyncio.ensure_future(self._watched(size, write))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def _take(self, size: int) -> None:
        try:
            async with asyncio.timeout(self._write_timeout):
                await self._budget.take(size)
        except TimeoutError:
            raise unavailable("too many writes wait already") from None
        try:
            self.check()
        except StoreUnavailable:
            self._budget.give(size)
            raise

    async def _watched(self, size: int, write: Callable[[], Awaitable[int]]) -> int:
        try:
            return await write()
        except StoreUnavailable:
            if self._behind is None:
                self.shut()
            else:
                self._behind.suspect()
            raise
        finally:
            self._budget.give(size)

    def _ended(self, task: asyncio.Task[int]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # the caller that went away is not there to hear it

    def shut(self) -> None:
        """Lets no more writes in, until run_probes() has found that they go through."""
        if not self._closed:
            self.writable = False
            self._budget.fail(lambda: unavailable("it takes no writes now"))
            self._shut.set()

    def suspect(self) -> None:
        """Has run_probes() look whether writes go through, and shuts the gate if they do not."""
        self._shut.set()

    async def run_probes(self, probe: Callable[[], Awaitable[object]]) -> None:
        """Opens the gate again when a small write goes through; for ever."""
        while True:
            await self._shut.wait()
            try:
                await probe()
            except (Lost, Refused, StoreUnavailable):
                self.shut()
                await asyncio.sleep(PROBE_SECONDS)
            else:
                self._shut.clear()
                self.writable = True

    async def close(self) -> None:
        """Lets no more writes in, and waits for those under way. Idempotent."""
        self._closed = True
        self._budget.fail(closed)
        while self._under_way:
            await asyncio.wait(self._under_way)
