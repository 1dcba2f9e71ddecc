"""Follows an election through lost connections and members that are gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
from sira.cluster.v1.election_service_pb2 import Election, Leader, ObserveRequest, ObserveResponse
from sira.cluster.v1.election_service_pb2_grpc import ElectionServiceStub

from sira_client.errors import SiraError, UnavailableError, from_rpc_error
from sira_client.first_of import drop
from sira_client.link import Link
from sira_client.settings import Settings

_log = logging.getLogger(__name__)


async def observe(link: Link, settings: Settings, name: str) -> AsyncIterator[Leader | None]:
    """Yields who leads an election, None for nobody, and each next leader, for ever.

    Args:
        link: to the kernel.
        settings: of the client.
        name: resource name of the election.

    Raises:
        SiraError: from the iteration: the kernel refused.
    """
    order, backoff = _Order(), settings.backoff()
    while True:
        member = link.member
        call = member.carrying(ElectionServiceStub(member.channel).Observe(ObserveRequest(name=name)))
        left = asyncio.create_task(member.left())
        try:
            while (response := await _next(call, left)) is not None:
                backoff.reset()
                if order.is_news(response.election):
                    yield response.election.leader if response.election.HasField("leader") else None
            error: SiraError = UnavailableError("the kernel ended the stream")
        except grpc.aio.AioRpcError as failure:
            error = from_rpc_error(failure)
        finally:
            call.cancel()
            await drop(left)
        if member.replaced.done():
            continue
        if not link.may_pass(error):
            raise error
        link.leave(member)
        delay = backoff.next(error.retry_after)
        _log.debug("the stream that observes %s was lost, and is opened again in %.3f s: %s", name, delay, error)
        await settings.clock.sleep(delay)


class _Order:
    """Lets through what is newer than what came before: another member may be behind the one before it."""

    def __init__(self) -> None:
        self._revision = -1
        self._told: Leader | None = None
        self._first = True

    def is_news(self, election: Election) -> bool:
        """Whether this is to be told."""
        leader = Leader() if not election.HasField("leader") else election.leader
        if election.revision < self._revision or (not self._first and leader == self._told):
            return False
        self._first, self._revision, self._told = False, election.revision, leader
        return True


async def _next(call: grpc.aio.UnaryStreamCall[ObserveRequest, ObserveResponse], left: asyncio.Task[None]) -> Any:
    """The next message of a stream; None when it has ended, or its connection is to be left.

    Raises:
        grpc.aio.AioRpcError: it was lost.
    """
    reading: asyncio.Future[object] = asyncio.ensure_future(call.read())
    waiting: set[asyncio.Future[Any]] = {reading, left}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        message = reading.result() if reading.done() else None
        return message if isinstance(message, ObserveResponse) else None
    finally:
        if not reading.done():
            await drop(reading)
