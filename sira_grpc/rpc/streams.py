"""Reads a request stream that may also be ended from the kernel's side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def until(ended: Callable[[], asyncio.Future[None] | None], requests: AsyncIterator[T]) -> AsyncIterator[T]:
    """Yields requests until there are no more, or the future that `ended` gives is done.

    Args:
        ended: asked anew before each request, as what ends the stream may only come to be by the first one.
        requests: what gRPC hands a servicer.
    """
    reading: asyncio.Future[T] | None = None
    try:
        while True:
            reading = asyncio.ensure_future(anext(requests))
            end = ended()
            awaited: set[asyncio.Future[Any]] = {reading} if end is None else {reading, end}
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                return
            try:
                request = reading.result()
            except StopAsyncIteration:
                return
            yield request
    finally:
        if reading is not None and not reading.cancel() and not reading.cancelled():
            reading.exception()  # whoever ended the stream does not care how its last read ended
