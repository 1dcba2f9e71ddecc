"""The way of what a client streams to the member that serves it."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from grpc import aio

FINISH_SECONDS = 5.0
"""How long the owner may take to answer what came before a message that was refused here."""


class ByteStream(Protocol):
    """The messages of a client, as they came, each checked."""

    async def take(self) -> bytes | None:
        """Returns the next one, which the caller reads as soon as it has been asked for; None after the last.

        Raises:
            SiraError: it is refused.
        """


class Requests(ByteStream, Protocol):
    """What a client streams, of which the first message was looked at; `take` begins with the one after it."""

    @property
    def first(self) -> bytes:
        """The first message."""


class Uplink:
    """Passes messages on, one at a time: the next is read once the one before has found room at the other member.

    A message that is refused here closes the sending side: what came before it is answered first, as it would be by a
    servicer.

    Args:
        requests: what the client streams.
        outgoing: the call at the other member.
    """

    def __init__(self, requests: ByteStream, outgoing: Any) -> None:
        self._requests = requests
        self._outgoing = outgoing
        self._error: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task = asyncio.create_task(self._run(), name="uplink of a forwarded call")

    def check(self) -> None:
        """Returns if nothing was refused. Raises what the call is to end with otherwise."""
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Stops passing on."""
        if self._timer is not None:
            self._timer.cancel()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while (data := await self._requests.take()) is not None:
                await self._outgoing.write(data)
        except (aio.AioRpcError, asyncio.InvalidStateError):
            return  # the call is over: whoever reads the answers is told how
        except Exception as error:  # noqa: BLE001  it is what the call ends with
            self._error = error
            self._timer = asyncio.get_running_loop().call_later(FINISH_SECONDS, self._outgoing.cancel)
        await self._outgoing.done_writing()
