"""How one call is to be made, whichever route it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc

from sira_client.routing.call_config import CallConfig
from sira_client.routing.replay import Replay
from sira_client.routing.route import CallInfo, ConfigSelector, Route, Router

C = TypeVar("C", bound=grpc.aio.Call)
T = TypeVar("T")


@dataclass(slots=True)
class Plan(Generic[C]):
    """A call to be made.

    Attributes:
        info: what the router is told of it.
        router: who chooses its route.
        start: starts it on a route, with the seconds it may take.
        deadline: when it must be over, on the event loop's clock; None for never.
        selector: what the channel's policy says of it; None where there is none.
        config: what it has said.
        route: the route that it took last.
        replay: its requests, where they are a stream that is kept to be sent again.
        launched: called when it is under way; None if nobody wants to know.
    """

    info: CallInfo
    router: Router
    start: Callable[[Route, float | None], C]
    deadline: float | None
    selector: ConfigSelector | None = None
    config: CallConfig | None = None
    route: Route | None = None
    replay: Replay | None = None
    launched: Callable[[], None] | None = None

    @property
    def repeatable(self) -> bool:
        """Whether its requests can be sent again."""
        return self.replay is None or self.replay.kept

    async def configure(self) -> None:
        """Does what the channel's policy says before a call goes anywhere. To be called once, and then release.

        Raises:
            grpc.aio.AioRpcError: what is injected, or DEADLINE_EXCEEDED.
        """
        selector = self.selector
        if selector is None or selector.plain:
            return
        began = asyncio.get_running_loop().time()
        self.config = config = await self._in_time(selector.config(self.info))
        if config is None:
            return
        self.router = config.router
        if config.timeout is not None:
            bound = began + config.timeout
            self.deadline = bound if self.deadline is None else min(bound, self.deadline)
        if config.fault is not None:
            if config.fault.delay:
                await self._in_time(config.sleep(config.fault.delay))
            if config.fault.error is not None:
                raise config.fault.error

    def release(self) -> None:
        """The call needs no more routes."""
        if self.config is not None:
            self.config.release()

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
        return await self._in_time(self.router.route(self.info, tried))

    async def rest(self, seconds: float) -> bool:
        """Waits before the call goes again. False, at once, if its deadline comes first, or it has none."""
        remaining = self.remaining()
        if remaining is None or remaining <= seconds:
            return False
        await asyncio.sleep(seconds)
        return True

    async def again(self, error: grpc.aio.AioRpcError) -> bool:
        """Whether the channel's policy has a call that failed go again; waits as long as it says before that.

        A call goes no more once an answer has begun, which it has with the first of its metadata.
        """
        if self.config is None or self.config.retries is None or not self.repeatable or error.initial_metadata():
            return False
        pause = self.config.retries.pause(error)
        remaining = self.remaining()
        if pause is None or (remaining is not None and remaining <= pause):
            return False
        await self.config.sleep(pause)
        return True

    def answered(self, metadata: grpc.aio.Metadata) -> grpc.aio.Metadata:
        """The initial metadata of the answer as the caller is to see it."""
        if self.config is None or self.config.answered is None or self.route is None:
            return metadata
        return self.config.answered(metadata, self.route)

    async def _in_time(self, work: Awaitable[T]) -> T:
        """Waits for work up to the deadline."""
        if self.deadline is None:
            return await work
        try:
            async with asyncio.timeout_at(self.deadline):
                return await work
        except TimeoutError:
            raise self._too_late() from None

    def _too_late(self) -> grpc.aio.AioRpcError:
        message = f"Deadline exceeded while waiting for a connection for {self.info.method}"
        empty = grpc.aio.Metadata()
        return grpc.aio.AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, empty, empty, message)

    def launch(self, route: Route) -> C:
        """Starts the call on a route, with the time that is left."""
        self.route = route
        call = self.start(route, self.remaining())
        route.carry(call)
        if self.launched is not None:
            self.launched()
        return call
