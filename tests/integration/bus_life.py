"""One life of a kernel, from its start to its kill, and what it is seen to do meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import grpc
from grpc import aio

from tests.integration.bus_kernel import BusKernel

SPREAD_SECONDS = 0.004
"""How long after an event the kill comes, at most: it hits what is between the events that can be seen."""


@dataclass(frozen=True)
class Fuse:
    """When a kernel is to be killed: after it was seen to do something so often, and a moment more."""

    kind: str
    count: int
    seconds: float

    @classmethod
    def random(cls, rng: random.Random, kinds: dict[str, int]) -> Fuse:
        """Chooses one of the kinds of events, and a number of them up to the one given."""
        kind = rng.choice(sorted(kinds))
        # Half of them within the first few: there it goes on from what the life before has left.
        count = rng.randint(1, kinds[kind] if rng.random() < 0.5 else min(5, kinds[kind]))
        return cls(kind, count, rng.choice((0.0, rng.uniform(0, SPREAD_SECONDS))))


class Life:
    """A kernel that will be killed, or in its last life drained.

    Args:
        number: of the life, from 0.
        kernel: the one that runs.
        fuse: says when it is killed; None for the last life.
    """

    def __init__(self, number: int, kernel: BusKernel, fuse: Fuse | None) -> None:
        self.number = number
        self.kernel = kernel
        self.fuse = fuse
        self.killed = False
        self.counts = Counter[str]()
        self._news = asyncio.Event()

    @property
    def draining(self) -> bool:
        """Whether it is the last life: nothing new is begun."""
        return self.fuse is None

    def seen(self, kind: str) -> None:
        """Notes that the kernel has done something."""
        self.counts[kind] += 1
        fuse = self.fuse
        if fuse is not None and fuse.kind == kind and self.counts[kind] == fuse.count:
            asyncio.get_running_loop().call_later(fuse.seconds, self._kill)
        self._news.set()

    async def news(self) -> None:
        """Returns when the kernel has done something more, or is gone."""
        if not self.killed:
            self._news.clear()
            await self._news.wait()

    def _kill(self) -> None:
        self.killed = True
        self.kernel.kill()
        self._news.set()

    async def until_killed(self, work: Coroutine[Any, Any, None]) -> None:
        """Awaits work that ends with the kernel."""
        try:
            await work
        except aio.AioRpcError as error:
            if not self.killed or not _is_lost_connection(error):
                raise
        except asyncio.InvalidStateError:  # of a call that has ended meanwhile
            if not self.killed:
                raise


def _is_lost_connection(error: aio.AioRpcError) -> bool:
    # A write that fails says no more than that, and the call then says the same.
    return error.code() == grpc.StatusCode.UNAVAILABLE or error.details() == "Internal error from Core"
