"""Follows a service through lost connections and kernel restarts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
from sira.registry.v1.resolver_service_pb2 import WatchRequest, WatchResponse

from sira_client.backoff import Backoff
from sira_client.errors import SiraError, UnavailableError, from_rpc_error
from sira_client.first_of import drop
from sira_client.link import Link
from sira_client.settings import Settings
from sira_client.view import ServiceView, ViewBuilder

_log = logging.getLogger(__name__)

MISSING_SECONDS = 15.0
"""How long a service that was there may be unknown to the kernel that is asked next: the default TTL of leases.

A kernel that lost its data learns of the service again from those who hold leases, as they come back.
"""


async def follow(link: Link, settings: Settings, service: str) -> AsyncIterator[ServiceView]:
    """Yields the service as it is, then each next state of it, for ever. A slow reader gets fewer, the latest last.

    A stream that is lost is resumed at its revision, with jittered back-off, and at once where the connection was
    replaced. If that revision is not to be had any more, or the kernel was replaced by one that is behind it, the next
    state comes from a snapshot.

    Args:
        link: to the kernel.
        settings: of the client.
        service: resource name.

    Raises:
        SiraError: from the iteration: the service is not there (NotFoundError), or not for this caller.
    """
    builder = ViewBuilder()
    losses = _Losses(builder, settings.backoff(), link)
    while True:
        member = link.member
        request = WatchRequest(service=service, start_revision=builder.revision)
        call = member.carrying(member.resolver.Watch(request))
        left = asyncio.create_task(member.left())
        try:
            while (message := await _next(call, left)) is not None:
                losses.heard()
                view = builder.apply(message)
                if view is not None:
                    yield view
            error: SiraError = UnavailableError("the kernel ended the watch")
        except grpc.aio.AioRpcError as failure:
            error = from_rpc_error(failure)
        finally:
            call.cancel()
            await drop(left)
        if member.replaced.done():
            builder.reconnect()
            continue
        delay = losses.judge(error)
        _log.debug("the watch of %s was lost, and is resumed in %.3f s: %s", service, delay, error)
        link.leave(member)
        await settings.clock.sleep(delay)


async def _next(
    call: grpc.aio.UnaryStreamCall[WatchRequest, WatchResponse], left: asyncio.Task[None]
) -> WatchResponse | None:
    """The next message of a stream; None when it has ended, or its connection is to be left.

    Raises:
        grpc.aio.AioRpcError: it was lost.
    """
    reading: asyncio.Future[object] = asyncio.ensure_future(call.read())
    waiting: set[asyncio.Future[Any]] = {reading, left}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        message = reading.result() if reading.done() else None
        return message if isinstance(message, WatchResponse) else None
    finally:
        if not reading.done():
            await drop(reading)


class _Losses:
    """Decides what the loss of a stream means, by what came before it."""

    def __init__(self, builder: ViewBuilder, backoff: Backoff, link: Link) -> None:
        self._builder = builder
        self._backoff = backoff
        self._link = link
        self._heard = False
        self._missing_since: float | None = None

    def heard(self) -> None:
        """Something came on the stream."""
        self._heard = True
        self._missing_since = None
        self._backoff.reset()

    def judge(self, error: SiraError) -> float:
        """Returns the seconds after which to open the stream again.

        Raises:
            SiraError: the error, if opening it again is no use.
        """
        heard, self._heard = self._heard, False
        self._builder.reconnect()
        if error.status is grpc.StatusCode.OUT_OF_RANGE and self._builder.revision:
            self._builder.restart()
            return 0.0
        if not self._link.may_pass(error) and (heard or not self._may_come_back(error)):
            raise error
        return self._backoff.next(error.retry_after)

    def _may_come_back(self, error: SiraError) -> bool:
        """Whether a service that was there is missing only for now."""
        if error.status is not grpc.StatusCode.NOT_FOUND or not self._builder.known:
            return False
        now = asyncio.get_running_loop().time()
        if self._missing_since is None:
            self._missing_since = now
        return now - self._missing_since < MISSING_SECONDS
