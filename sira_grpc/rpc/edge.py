"""The chain of interceptors, put once around every method when its servicer is added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc
from google.protobuf.message import DecodeError, Message

from sira_grpc.errors import FieldViolation, InvalidField
from sira_grpc.rpc.call import Call, Context, Handler, Method, enter_call
from sira_grpc.rpc.forwarding.forwarder import Forwarder
from sira_grpc.rpc.interceptors import Errors, Interceptor, Metrics
from sira_grpc.rpc.shapes import wrap


class Edge(grpc.GenericRpcHandler):
    """Finds the handler of a method, with the interceptors around it.

    Servicers are added to it as to a server: `add_XServicer_to_server(servicer, edge)`. It is the one generic handler
    of the server, instead of a grpc.aio interceptor and registered methods, because both cost every call: an
    interceptor builds its handler anew each time, and grpc.aio waits for one future for each registered method,
    re-arming all of them whenever one call comes in.

    Args:
        interceptors: the outermost first; `metrics` and those before it see calls that others refuse.
        errors: settles calls that fail.
        metrics: one of the interceptors; told of methods when they are added, and of calls to unknown ones.
        forwarder: takes calls to the members that they belong to; None where there are no others.
    """

    def __init__(
        self,
        interceptors: Sequence[Interceptor],
        errors: Errors,
        metrics: Metrics,
        forwarder: Forwarder | None = None,
    ) -> None:
        # Hooks that do nothing are left out: calling them would cost every call.
        entered = [i for i in interceptors if type(i).enter is not Interceptor.enter]
        self._enter = tuple(interceptor.enter for interceptor in entered)
        self._request = tuple(i.request for i in interceptors if type(i).request is not Interceptor.request)
        # What to leave after so many were entered, the innermost first.
        self._exit = tuple(
            tuple(i.exit for i in reversed(entered[:depth]) if type(i).exit is not Interceptor.exit)
            for depth in range(len(entered) + 1)
        )
        self._errors = errors
        self._metrics = metrics
        self._forwarder = forwarder
        self._handlers: dict[str, Handler] = {}
        self._services: list[str] = []

    @property
    def services(self) -> tuple[str, ...]:
        """Full names of the services that were added."""
        return tuple(self._services)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Part of a server's interface. Generated code passes the same methods by name too, which is what counts."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Puts the interceptors around the methods of a service. Generated code calls it.

        Raises:
            TypeError: a method is neither a coroutine function nor an async generator.
        """
        self._services.append(service)
        for name, handler in handlers.items():
            if handler.request_deserializer is None or handler.response_serializer is None:
                raise TypeError(f"{service}/{name} has no serializer")
            method = Method(
                name=f"{service}/{name}",
                service=service,
                streams=handler.request_streaming or handler.response_streaming,
                deserialize=handler.request_deserializer,
                serialize=handler.response_serializer,
            )
            route = self._forwarder.route(method) if self._forwarder is not None else None
            self._metrics.register(method.name)
            self._handlers[f"/{method.name}"] = wrap(self, method, handler, route)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """Returns the handler of a method; None, which gRPC answers with UNIMPLEMENTED, if there is no such method."""
        handler = self._handlers.get(handler_call_details.method)
        if handler is None:
            self._metrics.unknown()
        return handler

    def open(self, method: Method, context: Context) -> Call:
        """Makes the call the current one."""
        call = Call(method, context)
        enter_call(call)
        return call

    def enter(self, call: Call) -> None:
        """Enters the interceptors, the outermost first.

        Raises:
            SiraError: one of them refuses the call.
        """
        depth = 0
        try:
            for enter in self._enter:
                enter(call)
                depth += 1
        finally:
            call.depth = depth

    def accept(self, call: Call, data: bytes) -> Message:
        """Reads a message and shows it to the interceptors.

        Raises:
            SiraError: it cannot be read, or one of them refuses it.
        """
        try:
            message = call.method.deserialize(data)
        except DecodeError as error:
            raise InvalidField([FieldViolation("request", "is not a readable message of its type")]) from error
        for request in self._request:
            request(call, message, data)
        return message

    async def fail(self, call: Call, error: BaseException) -> None:
        """Tells the caller, by an abort, which raises; returns if the error is gRPC's own and goes on."""
        status = self._errors.settle(call, error)
        if status is not None:
            await call.context.abort(status.code, status.details, status.trailing_metadata)

    def close(self, call: Call) -> None:
        """Leaves the interceptors that were entered, the innermost first."""
        if call.code is grpc.StatusCode.OK:
            # A code that was set on the context, without an abort, counts as well.
            call.code = call.context.code() or call.code
        for leave in self._exit[call.depth]:
            leave(call)
