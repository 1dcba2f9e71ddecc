"""Follows what the kernel says of trust, through lost connections, kernel restarts and changes of the own identity."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import grpc
from sira.identity.v1.identity_service_pb2 import (
    WatchAck,
    WatchOpen,
    WatchTrustBundlesRequest,
    WatchTrustBundlesResponse,
)
from sira_client.backoff import Backoff
from sira_client.clock import Clock
from sira_client.errors import SiraError, UnavailableError, from_rpc_error

from sira_grpc.agent.alarm import Alarm
from sira_grpc.agent.kernel_link import Connection, KernelLink

_log = logging.getLogger(__name__)

FIRST_RETRY, LONGEST_RETRY = 0.2, 2.0
"""Seconds between attempts: the most before the first and before any. A kernel that has started again does not wait
for long until it goes on with a rotation without those who have not come back."""


class Delivery:
    """A message of the kernel, and the stream on which it is acknowledged.

    Attributes:
        message: what the kernel says.
    """

    def __init__(self, message: WatchTrustBundlesResponse, call: Any) -> None:
        self.message = message
        self._call = call

    async def acknowledge(self) -> None:
        """Tells the kernel that it is in use. If the stream is gone, the next one brings the same again."""
        request = WatchTrustBundlesRequest(ack=WatchAck(revision=self.message.revision))
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.write(request)


class BundleWatch:
    """The stream, and the next one before the old one goes when the link's connection is replaced.

    Args:
        link: to the kernel.
        received: called with each message.
        refused: called with what the kernel says when it does not let the agent follow.
        clock, random: time and chance.
    """

    def __init__(
        self,
        link: KernelLink,
        *,
        received: Callable[[Delivery], None],
        refused: Callable[[SiraError], None],
        clock: Clock,
        random: Random,
    ) -> None:
        self._link = link
        self._received = received
        self._refused = refused
        self._backoff = Backoff(FIRST_RETRY, LONGEST_RETRY, random)
        self._alarm = Alarm(clock)
        self._current: asyncio.Task[SiraError] | None = None

    async def run(self) -> None:
        """Follows, for ever."""
        try:
            while True:
                await self._follow(self._link.connection)
        finally:
            await _end(self._current)

    async def _follow(self, connection: Connection) -> None:
        """Follows on a connection until that is replaced or its stream ends."""
        opened = asyncio.Event()
        stream = asyncio.create_task(self._read(connection, opened))
        try:
            await _first(stream, opened.wait())
            if opened.is_set():
                old, self._current = self._current, stream
                await _end(old)
                await _first(stream, connection.retired.wait())
        finally:
            if stream is not self._current:
                await _end(stream)
        if stream.done():
            await self._lost(stream.result(), connection)

    async def _lost(self, error: SiraError, connection: Connection) -> None:
        delay = self._backoff.next(error.retry_after)
        _log.debug("lost the watch of trust bundles at %s, back in %.3f s: %s", connection.address, delay, error)
        if error.status is grpc.StatusCode.UNAUTHENTICATED:
            self._refused(error)
        else:
            self._link.leave(connection)
        await self._alarm.wait(delay)

    async def _read(self, connection: Connection, opened: asyncio.Event) -> SiraError:
        """Reads a stream to its end, and returns how it ended."""
        with connection:
            call: Any = connection.stub.WatchTrustBundles()
            try:
                await call.write(WatchTrustBundlesRequest(open=WatchOpen(acknowledges=True)))
                async for message in call:
                    self._backoff.reset()
                    opened.set()
                    self._received(Delivery(message, call))
                return UnavailableError("the kernel ended the watch")
            except grpc.aio.AioRpcError as failure:
                return from_rpc_error(failure)
            except asyncio.InvalidStateError:  # of a write to a call that has failed already
                return UnavailableError("the connection failed")
            finally:
                call.cancel()


async def _first(task: asyncio.Task[Any], other: Any) -> None:
    """Waits until a task is done or another wait is over, which is given up then."""
    waiting = asyncio.ensure_future(other)
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def _end(task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait({task})
