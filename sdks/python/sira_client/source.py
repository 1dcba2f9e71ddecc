"""A value that somebody else renews: followed by one task, and shared by all who use it."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from types import TracebackType
from typing import Generic, Self, TypeVar

import grpc

from sira_client.errors import UnavailableError
from sira_client.settings import Settings

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Source(ABC, Generic[T]):
    """Follows a value for as long as anybody is in `async with`, which several may be at once.

    Subclasses say where the value comes from, in `follow`, and what they are called, in `__str__`. Where following
    fails, the value from before stays, and following begins again, with jittered back-off.

    Args:
        timeout: how long, in seconds, to try to get the first value; 0 for one try.
        settings: back-off and clock; None for the defaults.
    """

    def __init__(self, *, timeout: float, settings: Settings | None) -> None:
        if not timeout >= 0:
            raise ValueError("timeout: must not be below 0 seconds")
        self._timeout = timeout
        self._settings = settings or Settings()
        self._users = 0
        self._current: T | None = None
        self._trouble = ""
        self._change: asyncio.Event
        self._first: asyncio.Future[None]
        self._following: asyncio.Task[None]

    @abstractmethod
    def follow(self) -> AsyncGenerator[T, None]:
        """Yields the value as it is, then each next one. It is begun again when it ends or fails.

        Raises:
            OSError, ValueError, grpc.aio.AioRpcError: from the iteration: the value is not to be had now.
        """

    @property
    def current(self) -> T:
        """The value as it is now. May be read on any thread.

        Raises:
            RuntimeError: it has not been followed yet.
        """
        if self._current is None:
            raise RuntimeError(f"{self} is followed only in `async with`")
        return self._current

    async def changed(self, known: T) -> T:
        """Waits until the value is another one than `known`, and returns it. Any number may wait, each for itself."""
        while self.current == known:
            await self._change.wait()
        return self.current

    async def __aenter__(self) -> Self:
        """Begins to follow, if nobody has yet, and waits for the first value.

        Raises:
            OSError, ValueError, grpc.aio.AioRpcError: there was none in time; says why.
        """
        self._users += 1
        if self._users == 1:
            loop = asyncio.get_running_loop()
            self._change, self._first = asyncio.Event(), loop.create_future()
            self._following = loop.create_task(self._run(loop.time() + self._timeout))
        try:
            await asyncio.wait({self._first, self._following}, return_when=asyncio.FIRST_COMPLETED)
            if self._following.done():
                self._following.result()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """Stops following, if nobody else is left."""
        await self._leave()

    async def _leave(self) -> None:
        self._users -= 1
        if not self._users:
            following = self._following
            following.cancel()
            await asyncio.wait([following])
            if not following.cancelled():
                following.exception()  # who came in has been told

    async def _run(self, deadline: float) -> None:
        """Follows for ever.

        Raises:
            OSError, ValueError, grpc.aio.AioRpcError: there was no first value by the deadline of the event loop.
        """
        backoff = self._settings.backoff()
        while True:
            try:
                async with aclosing(self.follow()) as values:
                    async for value in values:
                        backoff.reset()
                        self._take(value)
                error: Exception = UnavailableError(f"{self} ended")
            except (OSError, ValueError, grpc.aio.AioRpcError) as failure:
                error = failure
            if not self._first.done() and asyncio.get_running_loop().time() >= deadline:
                raise error
            self._complain(error)
            await self._settings.clock.sleep(backoff.next())

    def _take(self, value: T) -> None:
        self._trouble = ""
        if value != self._current:
            self._current = value
            change, self._change = self._change, asyncio.Event()
            change.set()
        if not self._first.done():
            self._first.set_result(None)

    def _complain(self, error: Exception) -> None:
        """Says what is wrong once, however often it is tried."""
        if str(error) != self._trouble:
            self._trouble = str(error)
            _log.warning("%s gives nothing new, and is tried again: %s", self, error)
