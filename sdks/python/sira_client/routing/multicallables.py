"""The callables that stubs get from a channel, one for each shape of method."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import grpc

from sira_client.routing.plan import Plan
from sira_client.routing.replay import Replay, Serialize
from sira_client.routing.retry import RetryPolicy
from sira_client.routing.route import CallInfo, ConfigSelector, Route, Router
from sira_client.routing.stream_calls import RoutedStreamStreamCall, RoutedStreamUnaryCall, RoutedUnaryStreamCall
from sira_client.routing.unary_call import RoutedUnaryUnaryCall, Translate

Request = TypeVar("Request")
Response = TypeVar("Response")
Callee = TypeVar("Callee")
C = TypeVar("C", bound=grpc.aio.Call)
Metadata = grpc.aio.Metadata | Sequence[tuple[str, str | bytes]] | None

if TYPE_CHECKING:
    StreamUnaryBase = grpc.aio.StreamUnaryMultiCallable
    StreamStreamBase = grpc.aio.StreamStreamMultiCallable
else:  # the oldest grpcio that is allowed has these two as plain classes

    class StreamUnaryBase(grpc.aio.StreamUnaryMultiCallable, Generic[Request, Response]):
        """See grpc.aio.StreamUnaryMultiCallable."""

    class StreamStreamBase(grpc.aio.StreamStreamMultiCallable, Generic[Request, Response]):
        """See grpc.aio.StreamStreamMultiCallable."""


class ActiveCalls:
    """The calls of a channel that are under way, and whether it takes more."""

    def __init__(self) -> None:
        self.closed = False
        self._calls: WeakSet[grpc.aio.Call] = WeakSet()

    def admit(self) -> None:
        """Lets a call begin.

        Raises:
            grpc.aio.UsageError: the channel is closed.
        """
        if self.closed:
            raise grpc.aio.UsageError("Channel is closed.")

    def add(self, call: C) -> C:
        """Keeps track of a call until it ends or nobody holds it any more."""
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return call

    async def close(self, grace: float | None) -> None:
        """Takes no more calls, lets those under way finish within the grace in seconds, and cancels the rest."""
        self.closed = True
        ending = [asyncio.ensure_future(call.code()) for call in list(self._calls)]
        if ending and grace:
            await asyncio.wait(ending, timeout=grace)
        for call in list(self._calls):
            call.cancel()
        if ending:
            await asyncio.wait(ending)


@dataclass(slots=True)
class Calling:
    """How a channel makes its calls.

    Attributes:
        router: chooses the route of each.
        retry: when a unary one goes again.
        default_timeout: seconds that a unary call may take where the caller does not say; None for no limit.
        translate: turns what a unary call failed with into what its caller is to see.
        active: the calls under way.
        selector: what the channel's policy says of each; None where there is none.
    """

    router: Router
    retry: RetryPolicy
    default_timeout: float | None
    translate: Translate
    active: ActiveCalls
    selector: ConfigSelector | None = None


class MultiCallable(Generic[Callee]):
    """A method of a channel, and its form on each route, made when it is first needed.

    Args:
        calling: how the channel makes calls.
        method: full name of the method.
        on: makes its form on a connection.
    """

    def __init__(self, calling: Calling, method: str, on: Callable[[grpc.aio.Channel], Callee]) -> None:
        self._calling = calling
        self._method = method
        self._on = on
        self._forms: WeakKeyDictionary[Route, Callee] = WeakKeyDictionary()

    def form(self, route: Route) -> Callee:
        """The method as it is called on a route."""
        found = self._forms.get(route)
        if found is None:
            found = self._forms[route] = self._on(route.channel)
        return found

    def plan(
        self,
        start: Callable[[Route, float | None], C],
        request: object,
        timeout: float | None,
        metadata: Metadata,
        wait_for_ready: bool | None,
    ) -> Plan[C]:
        """Plans a call.

        Raises:
            grpc.aio.UsageError: the channel is closed.
        """
        self._calling.active.admit()
        info = CallInfo(self._method, tuple(metadata or ()), request, bool(wait_for_ready))
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        return Plan(info, self._calling.router, start, deadline, self._calling.selector)


class RequestStream(MultiCallable[Callee]):
    """A method that takes a stream of requests.

    Args:
        calling: how the channel makes calls.
        method: full name of the method.
        on: makes its form on a connection.
        serialized_on: makes its form for requests that are serialized already.
        serialize: serializes them; None where they are bytes.
    """

    def __init__(
        self,
        calling: Calling,
        method: str,
        on: Callable[[grpc.aio.Channel], Callee],
        serialized_on: Callable[[grpc.aio.Channel], Callee],
        serialize: Serialize | None,
    ) -> None:
        super().__init__(calling, method, on)
        self._serialized: MultiCallable[Callee] = MultiCallable(calling, method, serialized_on)
        self._serialize = serialize

    def replay(self, requests: Any) -> Replay:
        """What keeps the requests of a call."""
        return Replay(requests, self._serialize)

    def form_and_requests(self, route: Route, plan: Plan[Any], requests: Any) -> tuple[Callee, Any]:
        """The method as an attempt calls it on a route, and the requests that it sends."""
        if plan.replay is None:
            return self.form(route), requests
        return self._serialized.form(route), plan.replay.attempt()


class UnaryUnary(
    MultiCallable[grpc.aio.UnaryUnaryMultiCallable[Request, Response]],
    grpc.aio.UnaryUnaryMultiCallable[Request, Response],
):
    """See grpc.aio.UnaryUnaryMultiCallable."""

    def __call__(
        self,
        request: Request,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> RoutedUnaryUnaryCall[Request, Response]:
        """See grpc.aio.UnaryUnaryMultiCallable."""

        def start(route: Route, timeout: float | None) -> grpc.aio.UnaryUnaryCall[Request, Response]:
            return self.form(route)(
                request, timeout=timeout, metadata=metadata, credentials=credentials, compression=compression
            )

        calling = self._calling
        limit = calling.default_timeout if timeout is None else timeout
        plan = self.plan(start, request, limit, metadata, wait_for_ready)
        return calling.active.add(RoutedUnaryUnaryCall(plan, calling.retry, calling.translate))


class UnaryStream(
    MultiCallable[grpc.aio.UnaryStreamMultiCallable[Request, Response]],
    grpc.aio.UnaryStreamMultiCallable[Request, Response],
):
    """See grpc.aio.UnaryStreamMultiCallable."""

    def __call__(
        self,
        request: Request,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> RoutedUnaryStreamCall[Request, Response]:
        """See grpc.aio.UnaryStreamMultiCallable."""

        def start(route: Route, timeout: float | None) -> grpc.aio.UnaryStreamCall[Request, Response]:
            return self.form(route)(
                request, timeout=timeout, metadata=metadata, credentials=credentials, compression=compression
            )

        plan = self.plan(start, request, timeout, metadata, wait_for_ready)
        return self._calling.active.add(RoutedUnaryStreamCall(plan))


class StreamUnary(
    RequestStream[StreamUnaryBase[Request, Response]],
    StreamUnaryBase[Request, Response],
):
    """See grpc.aio.StreamUnaryMultiCallable."""

    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> RoutedStreamUnaryCall[Request, Response]:
        """See grpc.aio.StreamUnaryMultiCallable."""

        def start(route: Route, timeout: float | None) -> grpc.aio.StreamUnaryCall[Request, Response]:
            form, requests = self.form_and_requests(route, plan, request_iterator)
            return form(requests, timeout, metadata, credentials, compression=compression)

        plan = self.plan(start, None, timeout, metadata, wait_for_ready)
        return self._calling.active.add(RoutedStreamUnaryCall(plan, lambda: self.replay(request_iterator)))


class StreamStream(
    RequestStream[StreamStreamBase[Request, Response]],
    StreamStreamBase[Request, Response],
):
    """See grpc.aio.StreamStreamMultiCallable."""

    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> RoutedStreamStreamCall[Request, Response]:
        """See grpc.aio.StreamStreamMultiCallable."""

        def start(route: Route, timeout: float | None) -> grpc.aio.StreamStreamCall[Request, Response]:
            form, requests = self.form_and_requests(route, plan, request_iterator)
            return form(requests, timeout, metadata, credentials, compression=compression)

        plan = self.plan(start, None, timeout, metadata, wait_for_ready)
        return self._calling.active.add(RoutedStreamStreamCall(plan, lambda: self.replay(request_iterator)))
