"""The requests of a stream, kept until they need not be sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any

KEPT_BYTES = 256 * 1024
"""Requests of one call that are kept; with more it is not tried again. As gRPC has it."""

Serialize = Callable[[Any], bytes]


class Replay:
    """Requests of one call, which each attempt is given from the first on.

    Args:
        source: where they come from; None where they are written.
        serialize: what makes bytes of them; None where they are bytes.
    """

    def __init__(self, source: AsyncIterable[Any] | Iterable[Any] | None, serialize: Serialize | None) -> None:
        self._source = source
        self._serialize = serialize
        self._kept: list[bytes] = []
        self._size = 0
        self._end = 0  # of all requests there were
        self._taken = 0  # by the attempt under way
        self._attempt = 0
        self._complete = False
        self._over = False
        self._error: BaseException | None = None
        self._change = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self.kept = True

    def attempt(self) -> AsyncIterator[bytes]:
        """The requests for an attempt, which is the one under way from now on."""
        self._attempt += 1
        self._taken = 0
        if self._pump is None and self._source is not None:
            self._pump = asyncio.get_running_loop().create_task(self._draw(self._source))
        self._wake()
        return self._requests(self._attempt)

    async def write(self, request: Any) -> None:
        """Adds a request, and waits until the attempt under way has taken it.

        Raises:
            asyncio.InvalidStateError: the call is over, or no more requests were to come.
        """
        if self._over:
            raise asyncio.InvalidStateError("the call is over")
        if self._complete:
            raise asyncio.InvalidStateError("no requests were to come any more")
        body = request if self._serialize is None else self._serialize(request)
        self._kept.append(body)
        self._size += len(body)
        self._end = mine = self._end + 1
        if self._size > KEPT_BYTES:
            self.commit()
        self._wake()
        while self._taken < mine and not self._over:
            await self._change.wait()

    async def done_writing(self) -> None:
        """No more requests come."""
        self._complete = True
        self._wake()

    def commit(self) -> None:
        """There will be no other attempt: what was sent is forgotten."""
        self.kept = False
        del self._kept[: self._taken - (self._end - len(self._kept))]
        self._wake()

    def close(self) -> None:
        """The call is over."""
        self._over = True
        self._kept.clear()
        if self._pump is not None:
            self._pump.cancel()
        self._wake()

    def _wake(self) -> None:
        change, self._change = self._change, asyncio.Event()
        change.set()

    async def _requests(self, attempt: int) -> AsyncIterator[bytes]:
        position = 0
        while attempt == self._attempt and not self._over:
            if position < self._end:
                first = self._end - len(self._kept)
                body = self._kept[position - first]
                position += 1
                self._taken = position
                if not self.kept:
                    self._kept.pop(0)
                self._wake()
                yield body
            elif self._error is not None:
                raise self._error
            elif self._complete:
                return
            else:
                await self._change.wait()

    async def _draw(self, source: AsyncIterable[Any] | Iterable[Any]) -> None:
        """Takes the requests of the source, no faster than they are sent."""
        try:
            if isinstance(source, AsyncIterable):
                async for request in source:
                    await self.write(request)
            else:
                for request in source:
                    await self.write(request)
            await self.done_writing()
        except Exception as error:  # noqa: BLE001 - it is for gRPC to find it in what it is given, as it does otherwise
            self._error = error
            self._wake()
