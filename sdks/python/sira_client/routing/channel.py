"""A grpc.aio.Channel whose calls a router spreads over several connections."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from sira_client.routing.multicallables import (
    ActiveCalls,
    Calling,
    StreamStream,
    StreamUnary,
    UnaryStream,
    UnaryUnary,
)
from sira_client.routing.retry import RetryPolicy
from sira_client.routing.route import ConfigSelector, Router
from sira_client.routing.unary_call import Translate

Request = TypeVar("Request")
Response = TypeVar("Response")
Serializer = Callable[[Any], bytes]
Deserializer = Callable[[bytes], Any]


class RoutedChannel(grpc.aio.Channel):
    """Stubs take it like any grpc.aio.Channel. What it says of its connectivity is for subclasses to add.

    Args:
        router: chooses the route of each call.
        retry: when a unary call goes again.
        default_timeout: seconds that a unary call may take where its caller does not say; None for no limit.
        translate: turns what a unary call failed with into what its caller is to see.
        selector: what the channel's policy says of each call; None where there is none.
    """

    def __init__(
        self,
        router: Router,
        *,
        retry: RetryPolicy,
        default_timeout: float | None,
        translate: Translate = lambda error: error,
        selector: ConfigSelector | None = None,
    ) -> None:
        self._active = ActiveCalls()
        self._calling = Calling(router, retry, default_timeout, translate, self._active, selector)

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> UnaryUnary[Any, Any]:
        """See grpc.aio.Channel."""
        return UnaryUnary(
            self._calling,
            method,
            lambda channel: channel.unary_unary(method, request_serializer, response_deserializer),
        )

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> UnaryStream[Any, Any]:
        """See grpc.aio.Channel."""
        return UnaryStream(
            self._calling,
            method,
            lambda channel: channel.unary_stream(method, request_serializer, response_deserializer),
        )

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> StreamUnary[Any, Any]:
        """See grpc.aio.Channel."""
        return StreamUnary(
            self._calling,
            method,
            lambda channel: channel.stream_unary(method, request_serializer, response_deserializer),
            lambda channel: channel.stream_unary(method, None, response_deserializer),
            request_serializer,
        )

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> StreamStream[Any, Any]:
        """See grpc.aio.Channel."""
        return StreamStream(
            self._calling,
            method,
            lambda channel: channel.stream_stream(method, request_serializer, response_deserializer),
            lambda channel: channel.stream_stream(method, None, response_deserializer),
            request_serializer,
        )

    async def close(self, grace: float | None = None) -> None:
        """Takes no more calls, lets those under way finish within the grace in seconds, and cancels the rest."""
        await self._active.close(grace)

    async def __aenter__(self) -> Self:
        """See grpc.aio.Channel."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """Closes the channel."""
        await self.close()
