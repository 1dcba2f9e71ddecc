"""A connection to one endpoint: how it is, and how many calls are under way on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import grpc

_READY = grpc.ChannelConnectivity.READY
_FAILED = grpc.ChannelConnectivity.TRANSIENT_FAILURE


class SubChannel:
    """One endpoint's connection, which is made at once and made again whenever it is lost.

    Args:
        name: resource name of the endpoint.
        target: where it is, as gRPC is told.
        channel: the connection; the sub-channel owns it.
        in_flight: calls under way by endpoint name; the sub-channel keeps its own endpoint's count there.
        changed: called when the state changes; must not block.
    """

    def __init__(
        self,
        name: str,
        target: str,
        channel: grpc.aio.Channel,
        in_flight: dict[str, int],
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self.target = target
        self.channel = channel
        self.ready = False
        self.broken = False
        self._in_flight = in_flight
        self._changed = changed
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._following = asyncio.get_running_loop().create_task(self._follow())

    def carry(self, call: grpc.aio.Call) -> None:
        """Counts a call until it ends."""
        self._calls += 1
        self._idle.clear()
        self._in_flight[self.name] = self._in_flight.get(self.name, 0) + 1
        call.add_done_callback(self._finished)

    def failed(self) -> None:
        """Looks at the connection at once: a call found out before gRPC told of it."""
        if not self._following.done():
            self._observe(self.channel.get_state(try_to_connect=True))

    async def retire(self, grace: float | None) -> None:
        """Lets the calls that are under way finish within the grace in seconds (None for any time) and closes."""
        self.ready = False
        self._following.cancel()
        try:
            await asyncio.wait([self._following])
            with suppress(TimeoutError):  # when the grace is over, closing cancels what is left
                async with asyncio.timeout(grace):
                    await self._idle.wait()
        finally:
            await self.channel.close()

    async def _follow(self) -> None:
        while True:
            state = self.channel.get_state(try_to_connect=True)
            self._observe(state)
            await self.channel.wait_for_state_change(state)

    def _observe(self, state: grpc.ChannelConnectivity) -> None:
        """Takes a state in. Broken stays broken until it is ready: gRPC tries again all the while."""
        ready, broken = state is _READY, state is _FAILED or (self.broken and state is not _READY)
        if (ready, broken) != (self.ready, self.broken):
            self.ready, self.broken = ready, broken
            self._changed()

    def _finished(self, _: object) -> None:
        self._calls -= 1
        if not self._calls:
            self._idle.set()
        left = self._in_flight[self.name] - 1
        if left:
            self._in_flight[self.name] = left
        else:
            del self._in_flight[self.name]
