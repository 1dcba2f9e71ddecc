"""The attempts of one call: it goes again by another route while that may help and does no harm."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import grpc

from sira_client.routing.plan import Plan
from sira_client.routing.retry import RetryPolicy, never_sent
from sira_client.routing.route import Route

C = TypeVar("C", bound=grpc.aio.Call)
T = TypeVar("T")


class Attempts(Generic[C, T]):
    """The attempts of one call, one after the other.

    Args:
        plan: the call.
        retry: when its author has it go again.
        finish: waits for what makes an attempt a success.
    """

    def __init__(self, plan: Plan[C], retry: RetryPolicy, finish: Callable[[C], Awaitable[T]]) -> None:
        self._plan = plan
        self._retry = retry
        self._finish = finish
        self._tried: list[Route] = []
        self._sent = 0
        self.current: C | None = None

    async def run(self) -> T:
        """Makes the call.

        Raises:
            grpc.aio.AioRpcError: it failed for good.
        """
        plan, tried = self._plan, self._tried
        last: grpc.aio.AioRpcError | None = None
        while True:
            try:
                route = await plan.find_route(tried)
            except grpc.aio.AioRpcError as error:
                if not await self._goes_later(error):
                    raise
                continue
            if route is None:
                assert last is not None, "a router answers None only to a call that has tried"
                if not await self._goes_later(last):
                    raise last
                continue
            self.current = plan.launch(route)
            try:
                return await self._finish(self.current)
            except grpc.aio.AioRpcError as error:
                last = error
            if not await self._goes_again(last, route):
                raise last

    async def _goes_again(self, error: grpc.aio.AioRpcError, route: Route) -> bool:
        """Whether the call goes again after it failed on a route, which it is then ready for."""
        if not self._plan.repeatable:
            return False
        unavailable = error.code() is grpc.StatusCode.UNAVAILABLE
        if unavailable:
            pause = self._retry.pause(error)
            if pause is not None:
                self._tried.clear()
                return await self._plan.rest(pause)
            route.failed()
            if never_sent(error):
                self._tried.append(route)
                return True
        self._sent += 1
        if unavailable and self._sent < self._retry.max_attempts and self._retry.may_replay(self._plan.info.method):
            self._tried.append(route)
            return True
        return await self._goes_later(error)

    async def _goes_later(self, error: grpc.aio.AioRpcError) -> bool:
        """Whether the channel's policy has the call go again, by any route."""
        if not await self._plan.again(error):
            return False
        self._tried.clear()
        return True
