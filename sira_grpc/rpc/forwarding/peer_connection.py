"""One gRPC channel to another member, and the calls that are under way on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio

if TYPE_CHECKING:
    Outgoing = aio.Call
else:
    Outgoing = Any
"""A call to another member."""


class PeerConnection:
    """A channel. Calls carry bytes both ways: whoever makes one knows what they are.

    Args:
        channel: owned from here on.
        credentials: that it was made with.
        close: takes the channel back once it is retired and its calls are over.

    Attributes:
        retired: it is given to no new calls.
    """

    def __init__(
        self,
        channel: aio.Channel,
        credentials: grpc.ChannelCredentials | None,
        close: Callable[[aio.Channel], None],
    ) -> None:
        self.credentials = credentials
        self._channel = channel
        self._close = close
        self._calls: set[Outgoing] = set()
        self._connecting = 0
        self.retired = False
        self._closed = False
        # Making one costs more than a call.
        self._callables: dict[tuple[str, bool, bool], Callable[..., Any]] = {}

    @property
    def idle(self) -> bool:
        """Whether no call is under way."""
        return not self._calls

    @property
    def ready(self) -> bool:
        """Whether it is connected, as far as is known."""
        return self._channel.get_state() is grpc.ChannelConnectivity.READY

    async def connect(self) -> bool:
        """Returns True once it is connected, and False once an attempt has failed. Bounded by the caller."""
        self._connecting += 1
        try:
            return await self._connected()
        finally:
            self._connecting -= 1
            self._close_if_unused()

    async def _connected(self) -> bool:
        state = self._channel.get_state(try_to_connect=True)
        while state is not grpc.ChannelConnectivity.READY:
            if state is grpc.ChannelConnectivity.SHUTDOWN:
                return False
            await self._channel.wait_for_state_change(state)
            last, state = state, self._channel.get_state(try_to_connect=True)
            # A channel that was in this state before is about to try once more: one attempt is waited for.
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE and last is grpc.ChannelConnectivity.CONNECTING:
                return False
        return True

    def callable(self, method: str, *, reads: bool, streams: bool) -> Callable[..., Any]:
        """Returns what makes calls of a method, `package.Service/Method`.

        Args:
            reads: the client of the method streams.
            streams: its server does.
        """
        made = self._callables.get((method, reads, streams))
        if made is None:
            shapes: dict[tuple[bool, bool], Callable[..., Any]] = {
                (False, False): self._channel.unary_unary,
                (False, True): self._channel.unary_stream,
                (True, False): self._channel.stream_unary,
                (True, True): self._channel.stream_stream,
            }
            made = self._callables[method, reads, streams] = shapes[reads, streams](f"/{method}")
        return made

    def begin(self, call: Outgoing) -> None:
        """Notes that a call is under way. Followed by exactly one `end`."""
        self._calls.add(call)

    def end(self, call: Outgoing) -> None:
        """Ends a call, if it is not over yet, and forgets it."""
        call.cancel()
        self._calls.discard(call)
        self._close_if_unused()

    def retire(self) -> None:
        """Closes it once its calls are over. It must be given no more."""
        if not self.retired:
            self.retired = True
            self._close_if_unused()

    def cut(self) -> None:
        """Ends its calls at once: to whoever waits for them, as if they were cancelled."""
        for call in tuple(self._calls):
            call.cancel()
        self.retire()

    def _close_if_unused(self) -> None:
        if self.retired and not self._calls and not self._connecting and not self._closed:
            self._closed = True
            self._close(self._channel)
