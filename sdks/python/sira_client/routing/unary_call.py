"""A unary call that goes again by another route while that may help and does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

import grpc

from sira_client.routing.plan import Plan
from sira_client.routing.retry import RetryPolicy, never_sent
from sira_client.routing.route import Route

Request = TypeVar("Request")
Response = TypeVar("Response")
Translate = Callable[[grpc.aio.AioRpcError], grpc.aio.AioRpcError]


class Attempts(Generic[Request, Response]):
    """The attempts of one call, one after the other."""

    def __init__(
        self, plan: Plan[grpc.aio.UnaryUnaryCall[Request, Response]], retry: RetryPolicy, translate: Translate
    ) -> None:
        self._plan = plan
        self._retry = retry
        self._translate = translate
        self.current: grpc.aio.UnaryUnaryCall[Request, Response] | None = None

    async def run(self) -> Response:
        """Makes the call.

        Raises:
            grpc.aio.AioRpcError: it failed for good, as translated.
        """
        try:
            return await self._run()
        except grpc.aio.AioRpcError as error:
            translated = self._translate(error)
            if translated is error:
                raise
            raise translated from error

    async def _run(self) -> Response:
        tried: list[Route] = []
        sent = 0
        last: grpc.aio.AioRpcError | None = None
        while True:
            route = await self._plan.find_route(tried)
            if route is None:
                assert last is not None, "a router answers None only to a call that has tried"
                raise last
            self.current = self._plan.launch(route)
            try:
                return await self.current
            except grpc.aio.AioRpcError as error:
                last = error
            if last.code() is not grpc.StatusCode.UNAVAILABLE:
                raise last
            pause = self._retry.pause(last)
            if pause is not None:
                if not await self._plan.rest(pause):
                    raise last
                tried.clear()
                continue
            route.failed()
            tried.append(route)
            if not never_sent(last):
                sent += 1
                if sent >= self._retry.max_attempts or not self._retry.may_replay(self._plan.info.method):
                    raise last


class RoutedUnaryUnaryCall(grpc.aio.UnaryUnaryCall[Request, Response]):
    """Used like any grpc.aio.UnaryUnaryCall. What it tells of metadata and status is of the attempt that counted."""

    def __init__(
        self, plan: Plan[grpc.aio.UnaryUnaryCall[Request, Response]], retry: RetryPolicy, translate: Translate
    ) -> None:
        self._plan = plan
        self._attempts = Attempts(plan, retry, translate)
        self._task: asyncio.Task[Response] = asyncio.get_running_loop().create_task(self._attempts.run())
        self._task.add_done_callback(_retrieve)

    def __await__(self) -> Generator[Any, None, Response]:
        """Waits for the response. Cancelling the waiter cancels the call."""
        return self._task.__await__()

    def cancel(self) -> bool:
        """See grpc.aio.Call."""
        return self._task.cancel()

    def cancelled(self) -> bool:
        """See grpc.aio.Call."""
        return self._task.cancelled() or self._task.cancelling() > 0

    def done(self) -> bool:
        """See grpc.aio.Call."""
        return self._task.done()

    def time_remaining(self) -> float | None:
        """See grpc.aio.Call."""
        return self._plan.remaining()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """See grpc.aio.Call."""
        self._task.add_done_callback(lambda _: callback(self))

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """See grpc.aio.Call."""
        error = await self._error()
        if error is not None:
            return error.initial_metadata() or grpc.aio.Metadata()
        return await self._settled().initial_metadata()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """See grpc.aio.Call."""
        error = await self._error()
        if error is not None:
            return error.trailing_metadata() or grpc.aio.Metadata()
        return await self._settled().trailing_metadata()

    async def code(self) -> grpc.StatusCode:
        """See grpc.aio.Call."""
        error = await self._error()
        return grpc.StatusCode.OK if error is None else error.code()

    async def details(self) -> str:
        """See grpc.aio.Call."""
        error = await self._error()
        return await self._settled().details() if error is None else error.details() or ""

    async def debug_error_string(self) -> str:
        """See grpc.aio.Call."""
        error = await self._error()
        return "" if error is None else error.debug_error_string() or ""

    async def wait_for_connection(self) -> None:
        """See grpc.aio.Call: here, waits until the call has gone through or failed."""
        error = await self._error()
        if error is not None:
            raise error

    async def _error(self) -> grpc.aio.AioRpcError | None:
        """Waits for the end of the call without a hold on it, and returns what it failed with."""
        await asyncio.wait([self._task])
        if self._task.cancelled():
            empty = grpc.aio.Metadata()
            return grpc.aio.AioRpcError(grpc.StatusCode.CANCELLED, empty, empty, "Locally cancelled by application!")
        error = self._task.exception()
        if error is None or isinstance(error, grpc.aio.AioRpcError):
            return error
        raise error

    def _settled(self) -> grpc.aio.UnaryUnaryCall[Request, Response]:
        assert self._attempts.current is not None, "a call that has succeeded had an attempt"
        return self._attempts.current


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Looks at how a call ended, so that asyncio does not complain of one that nobody waited for."""
    if not task.cancelled():
        task.exception()
