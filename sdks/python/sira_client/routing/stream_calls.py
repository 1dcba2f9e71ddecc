"""Streaming calls that first find a route and then are what gRPC makes of them: a stream that breaks is not resumed.

Where the channel's policy has them tried again, that ends as soon as an answer has begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import suppress
from typing import Any, Generic, TypeVar

import grpc

from sira_client.routing.opening import Opening
from sira_client.routing.plan import Plan
from sira_client.routing.replay import Replay

Request = TypeVar("Request")
Response = TypeVar("Response")
C = TypeVar("C", bound=grpc.aio.Call)


class RoutedCall(Generic[C]):
    """What all streaming calls have in common.

    Args:
        plan: the call.
        requests: makes what keeps its requests, where they are a stream and may have to be sent again.
    """

    _streams = True
    """Whether there may be several answers."""

    _channel = None  # see RoutedUnaryUnaryCall

    def __init__(self, plan: Plan[C], requests: Callable[[], Replay] | None = None) -> None:
        self._plan = plan
        self._way = Opening(plan, requests, streams=self._streams)
        self._opening: asyncio.Task[C] = asyncio.get_running_loop().create_task(self._way.run())
        self._opening.add_done_callback(self._found)

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
        """See grpc.aio.Call. While the call may go again, metadata that is empty is as good as none."""
        attempt = await self._way.on_its_way()
        if attempt is not None:
            metadata = await attempt.initial_metadata()
            if not metadata and not attempt.done():
                return metadata
        call = await self._outcome()
        if isinstance(call, grpc.aio.AioRpcError):
            return call.initial_metadata() or grpc.aio.Metadata()
        return self._plan.answered(await call.initial_metadata())

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
        attempt = await self._way.on_its_way()
        if attempt is not None:
            with suppress(grpc.aio.AioRpcError):  # another one follows, or the call tells of it
                return await attempt.wait_for_connection()
        return await (await self._call()).wait_for_connection()

    async def _read(self) -> Any:
        call: Any = await self._call()
        return await (self._way.answers or call).read()

    async def _answers(self) -> AsyncIterator[Any]:
        call: Any = await self._call()
        async for response in self._way.answers or call:
            yield response

    async def _write(self, request: Any) -> None:
        await (await self._sink()).write(request)

    async def _done_writing(self) -> None:
        await (await self._sink()).done_writing()

    async def _sink(self) -> Any:
        """What requests are written to."""
        await self._way.on_its_way()
        if self._way.replay is None or (self._opening.done() and self._opened() is None):
            return await self._call()
        return self._way.replay

    async def _call(self) -> C:
        """The call on its route, once it has one. Giving up waiting gives up nothing else."""
        return await asyncio.shield(self._opening)

    def _found(self, opening: asyncio.Task[C]) -> None:
        """Looks at how the search ended, so that asyncio does not complain of one that nobody waited for."""
        self._way.close()
        if not opening.cancelled():
            opening.exception()

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
        async for response in self._answers():
            yield response

    async def read(self) -> Any:
        """See grpc.aio.UnaryStreamCall."""
        return await self._read()


class RoutedStreamUnaryCall(
    RoutedCall[grpc.aio.StreamUnaryCall[Request, Response]], grpc.aio.StreamUnaryCall[Request, Response]
):
    """Used like any grpc.aio.StreamUnaryCall."""

    _streams = False

    def __await__(self) -> Generator[Any, None, Response]:
        """Waits for the response. Cancelling the waiter cancels the call."""
        return self._response().__await__()

    async def _response(self) -> Response:
        return await (await self._opening)

    async def write(self, request: Request) -> None:
        """See grpc.aio.StreamUnaryCall."""
        await self._write(request)

    async def done_writing(self) -> None:
        """See grpc.aio.StreamUnaryCall."""
        await self._done_writing()


class RoutedStreamStreamCall(
    RoutedCall[grpc.aio.StreamStreamCall[Request, Response]], grpc.aio.StreamStreamCall[Request, Response]
):
    """Used like any grpc.aio.StreamStreamCall."""

    async def __aiter__(self) -> AsyncIterator[Response]:
        """See grpc.aio.StreamStreamCall."""
        async for response in self._answers():
            yield response

    async def read(self) -> Any:
        """See grpc.aio.StreamStreamCall."""
        return await self._read()

    async def write(self, request: Request) -> None:
        """See grpc.aio.StreamStreamCall."""
        await self._write(request)

    async def done_writing(self) -> None:
        """See grpc.aio.StreamStreamCall."""
        await self._done_writing()
