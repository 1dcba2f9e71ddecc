"""Streaming calls that first find a route and then are what gRPC makes of them: a stream that breaks is not resumed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, Generic, TypeVar

import grpc

from sira_client.routing.plan import Plan

Request = TypeVar("Request")
Response = TypeVar("Response")
C = TypeVar("C", bound=grpc.aio.Call)


class RoutedCall(Generic[C]):
    """What all streaming calls have in common."""

    def __init__(self, plan: Plan[C]) -> None:
        self._plan = plan
        self._opening: asyncio.Task[C] = asyncio.get_running_loop().create_task(_open(plan))
        self._opening.add_done_callback(_retrieve)

    def cancel(self) -> bool:
        """See grpc.aio.Call."""
        call = self._opened()
        return self._opening.cancel() if call is None else call.cancel()

    def cancelled(self) -> bool:
        """See grpc.aio.Call."""
        call = self._opened()
        return self._opening.cancelled() or self._opening.cancelling() > 0 if call is None else call.cancelled()

    def done(self) -> bool:
        """See grpc.aio.Call."""
        call = self._opened()
        return self._opening.done() if call is None else call.done()

    def time_remaining(self) -> float | None:
        """See grpc.aio.Call."""
        return self._plan.remaining()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """See grpc.aio.Call."""

        def opened(_: asyncio.Task[C]) -> None:
            call = self._opened()
            if call is None:
                callback(self)
            else:
                call.add_done_callback(lambda _: callback(self))

        self._opening.add_done_callback(opened)

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """See grpc.aio.Call."""
        call = await self._outcome()
        if isinstance(call, grpc.aio.AioRpcError):
            return call.initial_metadata() or grpc.aio.Metadata()
        return await call.initial_metadata()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """See grpc.aio.Call."""
        call = await self._outcome()
        if isinstance(call, grpc.aio.AioRpcError):
            return call.trailing_metadata() or grpc.aio.Metadata()
        return await call.trailing_metadata()

    async def code(self) -> grpc.StatusCode:
        """See grpc.aio.Call."""
        call = await self._outcome()
        return call.code() if isinstance(call, grpc.aio.AioRpcError) else await call.code()

    async def details(self) -> str:
        """See grpc.aio.Call."""
        call = await self._outcome()
        return call.details() or "" if isinstance(call, grpc.aio.AioRpcError) else await call.details()

    async def wait_for_connection(self) -> None:
        """See grpc.aio.Call."""
        await (await self._call()).wait_for_connection()

    async def _call(self) -> C:
        """The call on its route, once it has one. Giving up waiting gives up nothing else."""
        return await asyncio.shield(self._opening)

    async def _outcome(self) -> C | grpc.aio.AioRpcError:
        """The call on its route, or what the search for one failed with."""
        await asyncio.wait([self._opening])
        if self._opening.cancelled():
            empty = grpc.aio.Metadata()
            return grpc.aio.AioRpcError(grpc.StatusCode.CANCELLED, empty, empty, "Locally cancelled by application!")
        error = self._opening.exception()
        if error is None:
            return self._opening.result()
        if isinstance(error, grpc.aio.AioRpcError):
            return error
        raise error

    def _opened(self) -> C | None:
        """The call on its route, if it has one already."""
        if self._opening.done() and not self._opening.cancelled() and self._opening.exception() is None:
            return self._opening.result()
        return None


class RoutedUnaryStreamCall(
    RoutedCall[grpc.aio.UnaryStreamCall[Request, Response]], grpc.aio.UnaryStreamCall[Request, Response]
):
    """Used like any grpc.aio.UnaryStreamCall."""

    async def __aiter__(self) -> AsyncIterator[Response]:
        """See grpc.aio.UnaryStreamCall."""
        async for response in await self._call():
            yield response

    async def read(self) -> Any:
        """See grpc.aio.UnaryStreamCall."""
        return await (await self._call()).read()


class RoutedStreamUnaryCall(
    RoutedCall[grpc.aio.StreamUnaryCall[Request, Response]], grpc.aio.StreamUnaryCall[Request, Response]
):
    """Used like any grpc.aio.StreamUnaryCall."""

    def __await__(self) -> Generator[Any, None, Response]:
        """Waits for the response. Cancelling the waiter cancels the call."""
        return self._response().__await__()

    async def _response(self) -> Response:
        return await (await self._opening)

    async def write(self, request: Request) -> None:
        """See grpc.aio.StreamUnaryCall."""
        await (await self._call()).write(request)

    async def done_writing(self) -> None:
        """See grpc.aio.StreamUnaryCall."""
        await (await self._call()).done_writing()


class RoutedStreamStreamCall(
    RoutedCall[grpc.aio.StreamStreamCall[Request, Response]], grpc.aio.StreamStreamCall[Request, Response]
):
    """Used like any grpc.aio.StreamStreamCall."""

    async def __aiter__(self) -> AsyncIterator[Response]:
        """See grpc.aio.StreamStreamCall."""
        async for response in await self._call():
            yield response

    async def read(self) -> Any:
        """See grpc.aio.StreamStreamCall."""
        return await (await self._call()).read()

    async def write(self, request: Request) -> None:
        """See grpc.aio.StreamStreamCall."""
        await (await self._call()).write(request)

    async def done_writing(self) -> None:
        """See grpc.aio.StreamStreamCall."""
        await (await self._call()).done_writing()


async def _open(plan: Plan[C]) -> C:
    route = await plan.find_route(())
    assert route is not None, "a router answers None only to a call that has tried"
    return plan.launch(route)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Looks at how the search ended, so that asyncio does not complain of one that nobody waited for."""
    if not task.cancelled():
        task.exception()
