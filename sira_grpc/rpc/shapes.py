"""The wrappers around servicer methods, one for each shape of call, that put them behind the interceptors.

Requests arrive here as bytes and responses leave as bytes: so a request that cannot be read is an error like any other,
and a stream that fans out may yield bytes that it serialized once for everybody.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, cast

import grpc
from google.protobuf.message import Message
from grpc import aio

from sira_grpc.rpc.call import Call, Context, Handler, Method
from sira_grpc.rpc.forwarding.exchange import ACCEPTED
from sira_grpc.rpc.forwarding.forwarder import Route


class Chain(Protocol):
    """What a wrapper calls around a servicer method."""

    def open(self, method: Method, context: Context) -> Call:
        """Makes the call the current one. Followed by exactly one `close`."""

    def enter(self, call: Call) -> None:
        """Enters the interceptors."""

    def accept(self, call: Call, data: bytes) -> Message:
        """Reads a message of the client and shows it to the interceptors."""

    async def fail(self, call: Call, error: BaseException) -> None:
        """Aborts the call, by raising; or returns, if the error is to go on."""

    def close(self, call: Call) -> None:
        """Leaves the interceptors that were entered."""


class RequestStream:
    """The messages of a client, each checked before the servicer sees it. Ends when the client half-closes."""

    __slots__ = ("_call", "_chain", "_read")

    def __init__(self, chain: Chain, call: Call) -> None:
        self._chain = chain
        self._call = call
        self._read = call.context.read

    def __aiter__(self) -> AsyncIterator[Message]:
        """Returns itself: there is one stream."""
        return self

    async def __anext__(self) -> Message:
        """Reads the next message."""
        data = await self._read()
        if data is aio.EOF:
            raise StopAsyncIteration
        return self._chain.accept(self._call, data)


class RoutedRequests(RequestStream):
    """The messages of a client, of which the first is looked at before it is known who serves the call.

    Attributes:
        first: the first message as it came, until it is clear that it will not be needed again.
    """

    __slots__ = ("_ended", "_peeked", "first")

    def __init__(self, chain: Chain, call: Call) -> None:
        super().__init__(chain, call)
        self.first = b""
        self._peeked: Message | None = None
        self._ended = False

    async def peek(self) -> Message | None:
        """Reads the first message, which stays the next one; None if there is none."""
        data = await self._read()
        if data is aio.EOF:
            self._ended = True
            return None
        self.first = data
        self._peeked = self._chain.accept(self._call, data)
        return self._peeked

    async def __anext__(self) -> Message:
        """Returns the next message."""
        if self._peeked is not None:
            message, self._peeked, self.first = self._peeked, None, b""
            return message
        if self._ended:
            raise StopAsyncIteration
        return await super().__anext__()

    async def take(self) -> bytes | None:
        """Reads the next message after the first and checks it. Returns it as it came; None after the last."""
        self._peeked, self.first = None, b""
        data: Any = await self._read()
        if data is aio.EOF:
            return None
        self._chain.accept(self._call, data)
        return cast(bytes, data)


def wrap(chain: Chain, method: Method, handler: Handler, route: Route | None = None) -> Handler:
    """Returns the handler that grpc.aio is given for a servicer method.

    Args:
        chain: what is called around it.
        method, handler: the method.
        route: takes calls that belong to other members there; None where there are none.

    Raises:
        TypeError: the method is neither a coroutine function with one response nor an async generator with many.
    """
    behavior = _behavior(handler)
    if handler.response_streaming:
        if not inspect.isasyncgenfunction(behavior):
            raise TypeError(f"{method.name} streams responses and must be an async generator")
        function: Callable[..., Any] = _generator(
            _streaming(chain, method, behavior, route, reads=handler.request_streaming)
        )
    else:
        if not inspect.iscoroutinefunction(behavior):
            raise TypeError(f"{method.name} must be a coroutine function")
        function = _single(chain, method, behavior, route, reads=handler.request_streaming)
    return _FACTORIES[handler.request_streaming, handler.response_streaming](function)


_FACTORIES: dict[tuple[bool, bool], Callable[[Any], Handler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _behavior(handler: Handler) -> Callable[..., Any]:
    behavior = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    if behavior is None:
        raise TypeError("a method handler without a method")
    return behavior


def _single(
    chain: Chain,
    method: Method,
    behavior: Callable[[Any, Context], Awaitable[Any]],
    route: Route | None,
    *,
    reads: bool,
) -> Callable[[Any, Context], Awaitable[bytes]]:
    """Wraps a method that answers once; `reads` says that the client streams."""
    serialize = method.serialize

    async def handle(data: Any, context: Context) -> bytes:
        call = chain.open(method, context)
        try:
            chain.enter(call)
            if route is not None:
                request, unit = await _routed(chain, call, route, None if reads else data)
            else:
                request, unit = RequestStream(chain, call) if reads else chain.accept(call, data), ""
            if route is not None and unit:
                requests = request if reads else None
                response = await route.single(call, unit, data, requests, lambda: behavior(request, context))
            else:
                response = await behavior(request, context)
            if response is None and context.code() is not None:
                # Third-party servicers set a code and return nothing; gRPC sends no message with it.
                return b""
            return response if type(response) is bytes else serialize(response)
        except BaseException as error:
            await chain.fail(call, error)
            raise
        finally:
            chain.close(call)

    return handle


def _streaming(
    chain: Chain, method: Method, behavior: Callable[[Any, Context], Any], route: Route | None, *, reads: bool
) -> Callable[[Any, Context], Awaitable[None]]:
    """Wraps a method that streams; `reads` says that the client streams too.

    It writes by itself, where an async generator would hand its messages to gRPC: gRPC neither closes a generator that
    is cancelled while a message is written, nor ends its stream, so that a client slow to read would survive a drain.
    """
    serialize = method.serialize

    async def handle(data: Any, context: Context) -> None:
        call = chain.open(method, context)
        write = context.write
        first = True
        try:
            chain.enter(call)
            if route is not None:
                request, unit = await _routed(chain, call, route, None if reads else data)
            else:
                request, unit = RequestStream(chain, call) if reads else chain.accept(call, data), ""
            if route is not None and unit:
                requests = request if reads else None
                responses = route.many(call, unit, data, requests, lambda: behavior(request, context))
            else:
                responses = behavior(request, context)
            try:
                async for response in responses:
                    message = response if type(response) is bytes else serialize(response)
                    if first:
                        first = False
                        await _write_first(call, message)
                    else:
                        await write(message)
                    del response, message  # not kept while it waits for the next one, which may be for long
            finally:
                await responses.aclose()
        except BaseException as error:
            await chain.fail(call, error)
            raise
        finally:
            chain.close(call)

    return handle


async def _routed(chain: Chain, call: Call, route: Route, data: bytes | None) -> tuple[Any, str]:
    """Returns what the servicer is to be given, and the unit of work if the call is another member's.

    Args:
        chain, call, route: see `wrap`.
        data: the one request; None where the client streams.
    """
    if data is not None:
        message = chain.accept(call, data)
        return message, route.elsewhere(call, message)
    requests = RoutedRequests(chain, call)
    first = await requests.peek()
    unit = "" if first is None else route.elsewhere(call, first)
    if call.forwarded:
        # The member that forwards sends the rest once it knows that the call is served here.
        await call.send_headers(((ACCEPTED, "1"),))
    return requests, unit


def _generator(
    function: Callable[[Any, Context], Awaitable[None]],
) -> Callable[[Any, Context], AsyncIterator[bytes]]:
    """Makes a function that writes by itself a generator of nothing: OpenTelemetry's interceptor iterates streams."""

    async def generate(data: Any, context: Context) -> AsyncIterator[bytes]:
        await function(data, context)
        for message in cast("tuple[bytes, ...]", ()):
            yield message

    return generate


async def _write_first(call: Call, message: bytes) -> None:
    """Writes the first message, with which gRPC sends the headers unless it has before. Who ends the call waits."""
    await call.opened_by(call.context.write(message))
