"""One attempt of a call at another member: what goes there and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from grpc import aio

from sira_grpc.rpc.call import Call
from sira_grpc.rpc.forwarding.peer_connection import PeerConnection
from sira_grpc.rpc.forwarding.uplink import Requests, Uplink

ACCEPTED = "sira-accepted"
"""In the headers that the edge of the owner sends, once a call whose client streams is served there."""


class Exchange:
    """See the module. `close` it, however it went.

    Args:
        call: of the client.
        connection: to the other member.
        outgoing: the call that was begun there.
        requests: what the client streams; None where it does not.

    Attributes:
        repeatable: nothing has come back, and nothing went there that is not kept.
    """

    def __init__(self, call: Call, connection: PeerConnection, outgoing: Any, requests: Requests | None) -> None:
        self._call = call
        self._connection = connection
        self._outgoing = outgoing
        self._requests = requests
        self._uplink: Uplink | None = None
        self.repeatable = True
        connection.begin(outgoing)

    async def response(self) -> bytes:
        """Returns the one response.

        Raises:
            aio.AioRpcError, asyncio.CancelledError: the attempt has failed.
            SiraError: a message of the client was refused here.
        """
        if self._requests is not None:
            await self._open()
        response: bytes = await self._outgoing
        if self._requests is None:
            await self._pass_headers()
        await self._finish()
        return response

    async def responses(self) -> AsyncGenerator[bytes, None]:
        """Yields the responses; see `response`."""
        await self._open()
        read = self._outgoing.read
        while (response := await read()) is not aio.EOF:
            self.repeatable = False
            yield response
        await self._finish()

    async def close(self) -> None:
        """Ends what is not over, and waits for its task."""
        self._connection.end(self._outgoing)
        if self._uplink is not None:
            await self._uplink.close()

    def refused(self) -> None:
        """Raises what the client is to be told, if a message of it was refused here."""
        if self._uplink is not None:
            self._uplink.check()

    async def _open(self) -> None:
        """Sends the first message, waits for the headers, and then has the other messages follow."""
        if self._requests is None:
            await self._pass_headers()
            return
        try:
            await self._outgoing.write(self._requests.first)
        except asyncio.InvalidStateError:
            return  # it is over already: reading tells how
        # An owner that refuses sends no headers, which looks the same as headers without anything in them.
        if await self._pass_headers():
            self.repeatable = False
            self._uplink = Uplink(self._requests, self._outgoing)

    async def _pass_headers(self) -> bool:
        """Waits for the headers and passes them on. Returns whether the owner says that it has accepted a stream."""
        headers = tuple(await self._outgoing.initial_metadata())
        passed = tuple(header for header in headers if header[0] != ACCEPTED)
        if passed:
            await self._call.send_headers(passed)
        return len(passed) < len(headers)

    async def _finish(self) -> None:
        self.refused()
        trailers = await self._outgoing.trailing_metadata()
        if trailers:
            self._call.context.set_trailing_metadata(tuple(trailers))
