"""An echo server whose calls fail as a test wants it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator

import grpc

from tests.unit.client.echo import Context, Echo


class Flaky(Echo):
    """Each call takes the first of `failures`, and fails with that status; those after the last go well.

    `trailing` goes along with a failure. `headers` has a call send metadata before it fails, `answers` an answer, and
    `reads` has it read all requests first. `requests` are what calls have read.
    """

    def __init__(self, name: str = "flaky") -> None:
        super().__init__(name)
        self.failures: deque[grpc.StatusCode] = deque()
        self.trailing: tuple[tuple[str, str], ...] = ()
        self.headers = False
        self.answers = False
        self.reads = True
        self.started = 0
        self.requests: list[list[bytes]] = []

    def fail(self, *codes: grpc.StatusCode) -> None:
        self.failures.extend(codes)

    async def _fail(self, context: Context) -> None:
        self.started += 1
        if self.failures:
            if self.headers:
                await context.send_initial_metadata((("begun", "yes"),))
            await context.abort(self.failures.popleft(), "as the test wants it", self.trailing)

    async def _one(self, request: bytes, context: Context) -> bytes:
        await self._fail(context)
        return await super()._one(request, context)

    async def _out(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        if self.answers:
            yield b"first"
        await self._fail(context)
        async for answer in super()._out(request, context):
            yield answer

    async def _in(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        return b"".join([self.name, *await self._read(requests, context)])

    async def _both(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        if self.reads:
            for request in await self._read(requests, context):
                yield self.name + request
            return
        await self._fail(context)
        async for request in requests:
            yield self.name + request

    async def _read(self, requests: AsyncIterator[bytes], context: Context) -> list[bytes]:
        read: list[bytes] = []
        self.requests.append(read)
        if self.reads:
            async for request in requests:
                read.append(request)  # noqa: PERF401 - a test sees what has been read when the rest never comes
        await self._fail(context)
        return read
