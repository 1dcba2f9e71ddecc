"""Load from the same machine: many channels, many streams, many concurrent callers, on raw bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from grpc import aio

CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each channel
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_concurrent_streams", 1_000_000),
)


@asynccontextmanager
async def channels(address: str, count: int) -> AsyncIterator[list[Any]]:
    """Opens channels, each with a connection of its own. Untyped: they carry bytes, which the stubs do not know of."""
    opened = [aio.insecure_channel(address, options=CHANNEL_OPTIONS) for _ in range(count)]
    try:
        yield opened
    finally:
        await asyncio.gather(*(channel.close() for channel in opened))


@dataclass(frozen=True, slots=True)
class Rate:
    """What a closed loop achieved: calls a second, and the latency of each call in seconds."""

    rate: float
    latencies: Sequence[float]


async def closed_loop(call: Callable[[int], Awaitable[object]], *, concurrency: int, calls: int) -> Rate:
    """Makes calls: each of `concurrency` callers the next one when its last is answered. `call` gets its number."""
    numbers = iter(range(calls))
    latencies: list[float] = []

    async def caller() -> None:
        for number in numbers:
            begun = time.perf_counter()
            await call(number)
            latencies.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return Rate(calls / (time.perf_counter() - begun), latencies)


class Streams:
    """Many server streams that are read to count what arrives."""

    def __init__(self, opened: Sequence[Any], method: str, request: bytes, count: int) -> None:
        self._calls = [opened[i % len(opened)].unary_stream(method)(request) for i in range(count)]
        self._seen = 0
        self._target = 0
        self._reached = asyncio.Event()
        self._last = 0.0
        self.failed: list[str] = []
        self._readers = [asyncio.ensure_future(self._read(call)) for call in self._calls]

    async def _read(self, call: Any) -> None:
        try:
            async for _ in call:
                self._seen += 1
                if self._seen == self._target:
                    self._last = time.perf_counter()
                    self._reached.set()
        except aio.AioRpcError as error:
            self.failed.append(f"{error.code().name}: {error.details()}")
            self._target -= 1
            if self._seen >= self._target:
                self._reached.set()

    def expect(self, messages_each: int) -> None:
        """Sets what `arrived` waits for: so many further messages on every stream."""
        self._reached.clear()
        self._target = self._seen + messages_each * len(self._calls)

    async def arrived(self) -> float:
        """Returns when the last of the expected messages came, on the performance counter."""
        await self._reached.wait()
        return self._last

    async def close(self) -> None:
        """Ends every stream."""
        for call in self._calls:
            call.cancel()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
