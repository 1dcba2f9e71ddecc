"""Delivers frames from one stream after the other, through lost connections and kernel restarts."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from sira.bus.v1.subscription_service_pb2 import OpenSubscription

from sira_client.backoff import Backoff
from sira_client.bus.delivered import DeliveredFrame
from sira_client.bus.subscribe_stream import SubscribeStream, Window
from sira_client.errors import SiraError
from sira_client.first_of import drop
from sira_client.link import Link
from sira_client.settings import Settings

_log = logging.getLogger(__name__)


class Feed:
    """Keeps a stream open until it is closed, and the frames that came on it until they are asked for.

    A stream that is lost is opened again with jittered back-off; what came on it and was not handed out is dropped: the
    kernel delivers it again. Where only the connection is replaced, the next stream is opened at once, and the old one
    stays until everything that came on it is settled.

    Args:
        link: to the kernel.
        settings: of the client.
        opening: makes the first request of each stream.
        window: what may be delivered in advance.
        lease: how long, in seconds, records are extended at most.
        settles: whether records are settled. If not, a stream whose connection is replaced is left at once.
    """

    def __init__(
        self,
        link: Link,
        settings: Settings,
        opening: Callable[[], OpenSubscription],
        window: Window,
        lease: float,
        *,
        settles: bool,
    ) -> None:
        self._link = link
        self._settings = settings
        self._opening = opening
        self._window = window
        self._lease = lease
        self._settles = settles
        self._frames: deque[tuple[DeliveredFrame, Sequence[int]]] = deque()
        self._news = asyncio.Event()
        self._streams: dict[asyncio.Task[SiraError | None], SubscribeStream] = {}
        self._closing = False
        self._running = asyncio.create_task(self._run())
        self._running.add_done_callback(lambda _: self._news.set())

    async def next(self) -> tuple[DeliveredFrame, Sequence[int]] | None:
        """The next frame, and which positions of it are to be handed out; None when the feed is closed.

        Raises:
            SiraError: the kernel refused to deliver.
        """
        while not self._closing:
            while self._frames:
                found = self._frames.popleft()
                if not found[0].lost:
                    return found
            if self._running.done():
                self._running.result()
            self._news.clear()
            await self._news.wait()
        return None

    async def close(self) -> None:
        """Settles what was said, gives the rest back, and ends. Streams that do not end in time are broken off."""
        if self._closing:
            return
        self._closing = True
        self._news.set()
        streams = dict(self._streams)
        try:
            for stream in streams.values():
                stream.finish()
            if opened := [task for task, stream in streams.items() if stream.opened]:
                await asyncio.wait(opened, timeout=self._settings.default_timeout)
        finally:
            await drop(self._running, *streams)
            self._frames.clear()

    async def _run(self) -> None:
        """Keeps a stream open.

        Raises:
            SiraError: the kernel refused to deliver.
        """
        backoff = self._settings.backoff()
        while not self._closing:
            member = self._link.member
            stream = SubscribeStream(member, self._settings, self._opening(), self._window, self._lease, self._take)
            task = asyncio.create_task(stream.run())
            self._streams[task] = stream
            task.add_done_callback(self._streams.pop)
            waiting: set[asyncio.Future[Any]] = {task, member.replaced}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await self._recover(stream, task.result(), backoff)
            elif self._settles:
                stream.retire()
            else:
                await drop(task)

    async def _recover(self, stream: SubscribeStream, error: SiraError | None, backoff: Backoff) -> None:
        """Decides what the end of a stream means, and waits before the next one is opened.

        Raises:
            SiraError: the error, if opening another one is no use.
        """
        if error is None:
            return  # it was finished, because the feed is closing
        if stream.damage is None:
            if not self._link.may_pass(error):
                raise error
            self._link.leave(stream.member)
            if stream.opened:
                backoff.reset()
        delay = backoff.next(error.retry_after)
        _log.debug("the stream was lost, and is opened again in %.3f s: %s", delay, error)
        await self._settings.clock.sleep(delay)

    def _take(self, frame: DeliveredFrame, positions: Sequence[int]) -> None:
        self._frames.append((frame, positions))
        self._news.set()
