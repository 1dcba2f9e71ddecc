"""The connections of a server: accepted as long as there are few enough, each with an owned task that serves it."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

log = logging.getLogger(__name__)

_BACKLOG = 128
_RETRY_SECONDS = 1.0
_ABSENT = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
"""Errors of an address that this machine does not have, such as the IPv6 one of `localhost` without IPv6."""


class Connections:
    """Accepts connections. Those above the limit wait in the system's queue until one ends.

    Args:
        serve: handles one, and closes it.
        limit: how many there are at once, at most.
    """

    def __init__(self, serve: Callable[[socket.socket], Coroutine[Any, Any, None]], *, limit: int) -> None:
        self._serve = serve
        self._limit = limit
        self._listeners: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._unserved: set[socket.socket] = set()
        self._retry: asyncio.TimerHandle | None = None

    async def open(self, address: str) -> str:
        """Binds, and accepts from now on. Returns the address with the port that it has.

        Args:
            address: `host:port`, the port 0 to let the system choose.

        Raises:
            OSError: the address cannot be bound.
        """
        host, _, port = address.rpartition(":")
        self._listeners = await _bind(host.strip("[]"), int(port))
        self._resume()
        return f"{host}:{self._listeners[0].getsockname()[1]}"

    async def close(self) -> None:
        """Accepts no more, and cancels and awaits what is being served. Idempotent."""
        self._pause()
        for listener in self._listeners:
            listener.close()
        self._listeners = []
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # what failed has been logged when it did

    def _resume(self) -> None:
        self._retry = None
        for listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _pause(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:  # this machine has run out of something
            log.warning("no connection can be accepted for %g s: %s", _RETRY_SECONDS, error.strerror)
            self._pause()
            self._retry = asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._resume)
            return
        connection.setblocking(False)
        self._unserved.add(connection)
        task = asyncio.create_task(self._begin(connection))
        task.add_done_callback(partial(self._ended, connection))
        self._tasks.add(task)
        if len(self._tasks) == self._limit:
            self._pause()

    async def _begin(self, connection: socket.socket) -> None:
        self._unserved.discard(connection)
        await self._serve(connection)

    def _ended(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        if connection in self._unserved:  # cancelled before it began
            self._unserved.discard(connection)
            connection.close()
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection failed", exc_info=error)
        if len(self._tasks) == self._limit - 1:
            self._resume()


async def _bind(host: str, port: int) -> list[socket.socket]:
    """Listens on every address of a host, at the same port."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    failure: OSError = OSError(errno.EADDRNOTAVAIL, "it has no address")
    for family, _, _, _, place in dict.fromkeys(found):
        try:
            listener = socket.create_server((place[0], port, *place[2:]), family=family, backlog=_BACKLOG)
        except OSError as error:
            failure = error
            if error.errno in _ABSENT:
                continue
            break
        listener.setblocking(False)
        listeners.append(listener)
        port = listener.getsockname()[1]
    else:
        if listeners:
            return listeners
    for listener in listeners:
        listener.close()
    raise failure
