from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sira_grpc.rpc.streams import until


class Requests:
    """A request stream that a test feeds."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[int | Exception | None] = asyncio.Queue()
        self.cancelled = False

    def put(self, item: int | Exception | None) -> None:
        """An item, an error that reading raises, or None for the end."""
        self._queue.put_nowait(item)

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        try:
            item = await self._queue.get()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if item is None:
            raise StopAsyncIteration
        if isinstance(item, Exception):
            raise item
        return item


async def test_it_yields_what_comes_until_there_is_no_more() -> None:
    requests = Requests()
    for item in (1, 2, None):
        requests.put(item)
    assert [r async for r in until(lambda: None, requests)] == [1, 2]


async def test_it_ends_when_it_is_told_to_while_it_waits() -> None:
    requests = Requests()
    end: list[asyncio.Future[None]] = []
    second = asyncio.Event()

    async def read() -> None:
        async for request in until(lambda: end[0] if end else None, requests):
            if not end:
                end.append(asyncio.get_running_loop().create_future())  # it comes to be with the first request
            if request == 2:
                second.set()

    task = asyncio.create_task(read())
    requests.put(1)
    requests.put(2)
    await second.wait()
    end[0].set_result(None)
    await task
    await asyncio.sleep(0)
    assert requests.cancelled


async def test_what_has_come_before_the_end_is_still_yielded() -> None:
    requests = Requests()
    requests.put(1)
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    stream = until(lambda: ended, requests)
    assert await anext(stream) == 1
    ended.set_result(None)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_an_error_of_the_stream_goes_on() -> None:
    requests = Requests()
    requests.put(RuntimeError("malformed"))
    with pytest.raises(RuntimeError, match="malformed"):
        await anext(until(lambda: None, requests))


async def test_who_is_cancelled_leaves_no_read_behind() -> None:
    requests = Requests()

    async def read() -> None:
        async for _ in until(lambda: None, requests):
            pass

    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert requests.cancelled
