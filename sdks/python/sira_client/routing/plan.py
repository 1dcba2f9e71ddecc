"""How one call is to be made, whichever route it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc

from sira_client.routing.route import CallInfo, Route, Router

C = TypeVar("C", bound=grpc.aio.Call)


@dataclass(slots=True)
class Plan(Generic[C]):
    """A call to be made.

    Attributes:
        info: what the router is told of it.
        router: who chooses its route.
        start: starts it on a route, with the seconds it may take.
        deadline: when it must be over, on the event loop's clock; None for never.
    """

    info: CallInfo
    router: Router
    start: Callable[[Route, float | None], C]
    deadline: float | None

    def remaining(self) -> float | None:
        """Seconds until the deadline, 0 at least; None without one."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - asyncio.get_running_loop().time())

    async def find_route(self, tried: Collection[Route]) -> Route | None:
        """Asks the router, up to the deadline.

        Raises:
            grpc.aio.AioRpcError: what the router raises, or DEADLINE_EXCEEDED.
        """
        if self.remaining() == 0:
            raise self._too_late()
        try:
            async with asyncio.timeout_at(self.deadline):
                return await self.router.route(self.info, tried)
        except TimeoutError:
            raise self._too_late() from None

    async def rest(self, seconds: float) -> bool:
        """Waits before the call goes again. False, at once, if its deadline comes first, or it has none."""
        remaining = self.remaining()
        if remaining is None or remaining <= seconds:
            return False
        await asyncio.sleep(seconds)
        return True

    def _too_late(self) -> grpc.aio.AioRpcError:
        message = f"Deadline exceeded while waiting for a connection for {self.info.method}"
        empty = grpc.aio.Metadata()
        return grpc.aio.AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, empty, empty, message)

    def launch(self, route: Route) -> C:
        """Starts the call on a route, with the time that is left."""
        call = self.start(route, self.remaining())
        route.carry(call)
        return call
