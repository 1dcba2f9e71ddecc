"""A PublishFrames stream that keeps a number of frames in flight: the client of every measurement of frames."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from sira.bus.v1.publish_service_pb2 import PublishFramesRequest
from sira.bus.v1.publish_service_pb2_grpc import PublishServiceStub
from sira_client.frames import checksum

from bench.bus import messages


class Publisher:
    """Sends frames to partition 0 of a topic, as a producer with sequences does.

    Args:
        channel: of grpc.aio.
        topic: without its namespace.
        window: frames that may be sent and not acknowledged.
        acked: called with the stamp that a frame was sent with, when it is acknowledged.
    """

    def __init__(self, channel: Any, topic: str, window: int, acked: Callable[[float], None] | None = None) -> None:
        self._call: Any = PublishServiceStub(channel).PublishFrames()
        self._topic = messages.topic(topic)
        self._producer_id = f"bench-{time.time_ns()}"
        self._sequence = 1
        self._window = window
        self._room = asyncio.Semaphore(window)
        self._acked = acked
        self._stamps: deque[float] = deque()
        self._reader = asyncio.create_task(self._read())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.drain()
        else:
            self._call.cancel()
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def send(self, frame: bytes, records: int, stamp: float = 0.0) -> None:
        """Sends a frame when there is room in the window.

        Raises:
            AioRpcError: the stream has failed.
        """
        await self._room.acquire()
        if self._reader.done():
            await self._reader
        self._stamps.append(stamp)
        request = PublishFramesRequest(frame=frame, checksum=checksum(frame), sequence=self._sequence)
        if self._sequence == 1:
            request.topic, request.producer_id = self._topic, self._producer_id
        self._sequence += records
        await self._call.write(request)

    async def drain(self) -> None:
        """Ends the stream and waits for the last acknowledgement.

        Raises:
            AioRpcError: the stream has failed.
        """
        await self._call.done_writing()
        await self._reader
        if self._stamps:
            raise RuntimeError(f"{len(self._stamps)} frames were not acknowledged")

    async def _read(self) -> None:
        try:
            async for _ in self._call:
                stamp = self._stamps.popleft()
                self._room.release()
                if self._acked is not None:
                    self._acked(stamp)
        finally:
            for _ in range(self._window):  # nobody waits for room in a stream that has ended
                self._room.release()


async def flood(
    channel: Any, topic: str, make: Callable[[], bytes], *, records: int, window: int, until: Until
) -> float:
    """Publishes as fast as the window allows and returns the records acknowledged a second.

    Args:
        channel: of grpc.aio.
        topic: without its namespace.
        make: makes the next frame; its cost is part of what is measured.
        records: in each frame.
        window: frames in flight.
        until: says when it is enough.
    """
    begun = time.perf_counter()
    frames = 0
    async with Publisher(channel, topic, window) as publisher:
        while until(begun, frames):
            await publisher.send(make(), records)
            frames += 1
    return frames * records / (time.perf_counter() - begun)


Until = Callable[[float, int], bool]
"""Whether to go on, given when the flood began, on the performance counter, and how many frames it has sent."""


def for_seconds(seconds: float) -> Until:
    """Goes on for a time."""
    return lambda begun, _: time.perf_counter() < begun + seconds


def for_frames(count: int) -> Until:
    """Goes on for a number of frames."""
    return lambda _, frames: frames < count
