"""One HoldLease stream, from its first request to its end."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import grpc
from sira.registry.v1.registry_service_pb2 import HoldLeaseRequest, HoldLeaseResponse

from sira_client.errors import UnavailableError
from sira_client.first_of import drop
from sira_client.link import Member

_log = logging.getLogger(__name__)


class LeaseStream:
    """A stream that holds a lease once it is attached, until it has ended.

    Args:
        member: whom to open it to.
    """

    def __init__(self, member: Member) -> None:
        self.member = member
        self._call: grpc.aio.StreamStreamCall[HoldLeaseRequest, HoldLeaseResponse]
        self._call = member.carrying(member.registry.HoldLease())
        self._ending: asyncio.Task[None] | None = None

    @property
    def holds(self) -> bool:
        """Whether it is attached and has not ended."""
        return self._ending is not None and not self._ending.done()

    async def attach(self, request: HoldLeaseRequest) -> HoldLeaseResponse:
        """Sends the first request and returns what it is answered.

        Raises:
            grpc.aio.AioRpcError: the kernel refused, or the stream was lost.
        """
        with suppress(asyncio.InvalidStateError):  # the call is over already: reading says why
            await self._call.write(request)
        response = await self._call.read()
        if not isinstance(response, HoldLeaseResponse):
            raise UnavailableError("the kernel ended the stream of the lease")
        self._ending = asyncio.create_task(self._end())
        return response

    async def ended(self) -> None:
        """Waits for the end of a stream that is attached. Giving up waiting gives up nothing else.

        Raises:
            grpc.aio.AioRpcError: it was lost.
        """
        assert self._ending is not None, "a stream that is not attached does not end"
        await asyncio.shield(self._ending)

    async def release(self) -> None:
        """Gives the lease back in good order.

        Raises:
            grpc.aio.AioRpcError: the stream was lost.
        """
        await self._call.done_writing()
        await self.ended()

    async def close(self) -> None:
        """Breaks the stream off, if it has not ended."""
        self._call.cancel()
        if self._ending is not None:
            await drop(self._ending)

    async def _end(self) -> None:
        """Reads to the end."""
        while await self._call.read() is not grpc.aio.EOF:
            _log.debug("the kernel sent a response that answers no request")
