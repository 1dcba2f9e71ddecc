"""A call of one request and one answer, which goes again by another route while that may help and does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import grpc

from sira_client.routing.attempts import Attempts
from sira_client.routing.plan import Plan
from sira_client.routing.retry import RetryPolicy

Request = TypeVar("Request")
Response = TypeVar("Response")
Translate = Callable[[grpc.aio.AioRpcError], grpc.aio.AioRpcError]


class RoutedUnaryUnaryCall(grpc.aio.UnaryUnaryCall[Request, Response]):
    """Used like any grpc.aio.UnaryUnaryCall. What it tells of metadata and status is of the attempt that counted."""

    # It is of no channel of gRPC. In 1.76, one that is closed looks for its calls in the tasks that run, and raises
    # for a call that does not say whose it is.
    _channel = None

    def __init__(
        self, plan: Plan[grpc.aio.UnaryUnaryCall[Request, Response]], retry: RetryPolicy, translate: Translate
    ) -> None:
        self._plan = plan
        self._translate = translate
        self._attempts: Attempts[grpc.aio.UnaryUnaryCall[Request, Response], Response] = Attempts(plan, retry, _answer)
        self._task: asyncio.Task[Response] = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(_retrieve)

    def __await__(self) -> Generator[Any, None, Response]:
        """Waits for the response. Cancelling the waiter cancels the call."""
        return self._task.__await__()

    async def _run(self) -> Response:
        try:
            await self._plan.configure()
            return await self._attempts.run()
        except grpc.aio.AioRpcError as error:
            translated = self._translate(error)
            if translated is error:
                raise
            raise translated from error
        finally:
            self._plan.release()

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
        return self._plan.answered(await self._settled().initial_metadata())

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


async def _answer(call: grpc.aio.UnaryUnaryCall[Request, Response]) -> Response:
    return await call


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Looks at how a call ended, so that asyncio does not complain of one that nobody waited for."""
    if not task.cancelled():
        task.exception()
