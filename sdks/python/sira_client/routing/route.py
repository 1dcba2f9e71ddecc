"""What a channel over several connections needs to know of them: routes, and a router that chooses among them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from sira_client.routing.call_config import CallConfig

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True, slots=True)
class CallInfo:
    """A call that looks for a route.

    Attributes:
        method: full name, `/package.Service/Method`.
        metadata: what the caller sends along.
        request: the request, where there is just one; None for a stream of requests.
        wait_for_ready: the caller would rather wait than fail while no connection is there.
    """

    method: str
    metadata: Metadata
    request: Any
    wait_for_ready: bool


class Route(Protocol):
    """One connection that calls can take."""

    @property
    def channel(self) -> grpc.aio.Channel:
        """The connection."""

    def carry(self, call: grpc.aio.Call) -> None:
        """Is told of each call that takes this route, when it starts."""

    def failed(self) -> None:
        """Is told that a call on this route found nobody to answer it."""


class Router(Protocol):
    """Chooses a route for each call."""

    async def route(self, info: CallInfo, tried: Collection[Route]) -> Route | None:
        """Chooses a route that has not been tried, waiting for one if there may soon be one.

        It is cancelled at the deadline of the call.

        Returns:
            None if routes have been tried and there is no other.

        Raises:
            grpc.aio.AioRpcError: there is none, and none in sight.
        """


class ConfigSelector(Protocol):
    """Says what a channel's policy has in mind for each call."""

    @property
    def plain(self) -> bool:
        """Whether it has nothing in mind for any call: then it is not asked."""

    async def config(self, info: CallInfo) -> CallConfig | None:
        """What becomes of a call; None if it just goes to the channel's router.

        It is cancelled at the deadline of the call.

        Raises:
            grpc.aio.AioRpcError: the call fails.
        """
