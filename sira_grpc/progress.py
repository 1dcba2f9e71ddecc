"""How far a view has come, and who waits for it to come further."""

from __future__ import annotations

import heapq
from asyncio import Future, get_running_loop

from sira_grpc.errors import KernelStopping


class Progress:
    """A revision that only grows."""

    def __init__(self) -> None:
        self.revision = 0
        self._closed = False
        self._waiters: list[tuple[int, int, Future[None]]] = []
        self._count = 0

    def advance(self, revision: int) -> None:
        """Notes a revision that has been reached, and wakes who waits for it."""
        self.revision = max(self.revision, revision)
        while self._waiters and self._waiters[0][0] <= self.revision:
            future = heapq.heappop(self._waiters)[2]
            if not future.done():
                future.set_result(None)

    async def reached(self, revision: int) -> None:
        """Returns once a revision has been reached.

        Raises:
            KernelStopping: it was closed before.
        """
        if self.revision >= revision:
            return
        if self._closed:
            raise _stopping()
        future: Future[None] = get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._waiters, (revision, self._count, future))
        await future

    def close(self) -> None:
        """Notes that it grows no more: who waits, waits in vain."""
        self._closed = True
        for _, _, future in self._waiters:
            if not future.done():
                future.set_exception(_stopping())
        self._waiters.clear()


def _stopping() -> KernelStopping:
    return KernelStopping("the kernel is stopping: what was written stays written", retry_after=0.5)
