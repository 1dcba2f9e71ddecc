"""Routes to servers, and a router that goes through them in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection

import grpc
from sira_client.routing import CallInfo, Route, RoutedChannel

ONE, OUT, IN, BOTH = (f"/test.Echo/{name}" for name in ("One", "Out", "In", "Both"))


class Direct:
    """A route to one server."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address)
        self.carried = 0
        self.failures = 0

    def carry(self, call: grpc.aio.Call) -> None:
        self.carried += 1

    def failed(self) -> None:
        self.failures += 1


class InOrder:
    """A router that goes through its routes in order, once `open` is set. Each call that asks releases `asked`."""

    def __init__(self, *routes: Direct) -> None:
        self.routes = routes
        self.open = asyncio.Event()
        self.open.set()
        self.infos: list[CallInfo] = []
        self.asked = asyncio.Semaphore(0)
        self.error: Exception | None = None

    async def route(self, info: CallInfo, tried: Collection[Route]) -> Route | None:
        self.infos.append(info)
        self.asked.release()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return next((route for route in self.routes if route not in tried), None)


class Channel(RoutedChannel):
    """A routed channel that says nothing of its connectivity."""

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await asyncio.Event().wait()

    async def channel_ready(self) -> None:
        """It is."""


Make = Callable[..., Channel]


async def requests(*messages: bytes) -> AsyncIterator[bytes]:
    for message in messages:
        yield message
