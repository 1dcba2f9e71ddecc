"""The end of the kernel, as calls meet it: new ones are refused, streams end at once, unary calls get a while."""

from __future__ import annotations

import asyncio
import random

from sira_grpc.errors import KernelStopping
from sira_grpc.rpc.call import Call
from sira_grpc.rpc.interceptors.interceptor import Interceptor


class Drain(Interceptor):
    """Keeps the calls under way and ends them.

    Args:
        rng: varies when clients are asked to come back, so that they do not all come at once.
        exempt: services that answer while the kernel stops, and end their streams by themselves.
    """

    def __init__(self, rng: random.Random, exempt: frozenset[str] = frozenset()) -> None:
        self._rng = rng
        self._exempt = exempt
        self._calls: set[Call] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.stopping = False
        """The drain has begun."""

    def refusal(self, *, executed: str = "unknown") -> KernelStopping:
        """Makes the error that a call gets; it asks to come back after 0.1 to 1 s.

        Args:
            executed: `no` where the call was not begun, so that a member that forwards it may ask another.
        """
        return KernelStopping(
            "the kernel is stopping: try another member, or again in a moment",
            metadata={"executed": executed},
            retry_after=self._rng.uniform(0.1, 1.0),
        )

    def enter(self, call: Call) -> None:
        """Refuses the call if the kernel is stopping."""
        if call.method.service in self._exempt:
            return
        if self.stopping:
            raise self.refusal(executed="no")
        call.task = asyncio.current_task()
        self._calls.add(call)
        self._idle.clear()

    def exit(self, call: Call) -> None:
        """Forgets the call."""
        self._calls.discard(call)
        # The task's context holds the call: a cycle that only the collector of garbage would end.
        call.task = None
        if not self._calls:
            self._idle.set()

    async def drain(self, grace: float) -> None:
        """Ends every stream at once and every other call after `grace` seconds. Returns when all are over.

        A servicer that never ends keeps this waiting for one more grace, and not longer.
        """
        self.stopping = True
        for call in tuple(self._calls):
            call.stopping = True
            if call.method.streams:
                call.end(self.refusal())
        if not await self._idle_within(grace):
            for call in tuple(self._calls):
                call.end(self.refusal())
            await self._idle_within(grace)

    async def _idle_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True
