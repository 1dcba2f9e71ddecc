"""The floor: a bare grpc.aio server that writes frames as the kernel's store does. `python -m bench.bus.floor FOLDER`.

It serves the kernel's Publish and PublishFrames with the kernel's message types, gRPC options, uvloop and store: the
frames go through `append` of the embedded engine, so table, group commit and fdatasync are the same. It does nothing
else: no interceptors, no validation, no topics, offsets, checksums, duplicates or hash chain. It prints its address.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvloop
from grpc import aio
from sira.bus.v1 import publish_service_pb2_grpc
from sira.bus.v1.publish_service_pb2 import (
    PublishedRecord,
    PublishFramesRequest,
    PublishFramesResponse,
    PublishRequest,
    PublishResponse,
)
from sira.bus.v1.topic_pb2 import Durability
from sira_client.frames import pack

from bench.bare import OPTIONS
from bench.processes import Server, launch
from sira_grpc.clock import SystemClock
from sira_grpc.store import LogStore, open_sqlite

PARTITION = "floor/log"
IN_FLIGHT = 256
"""Frames of one stream that may wait for their sync: as many as the largest window of the client."""


class Floor(publish_service_pb2_grpc.PublishServiceServicer):
    """The methods.

    Args:
        logs: where the frames go.
    """

    def __init__(self, logs: LogStore) -> None:
        self._logs = logs

    async def Publish(self, request: PublishRequest, context: Any) -> PublishResponse:  # noqa: N802 - the RPC's name
        """Stores the frame of the records."""
        offset = await self._logs.append(PARTITION, [pack(request.records)])
        return PublishResponse(records=[PublishedRecord(offset=offset)], durability=Durability.DURABILITY_DISK)

    async def PublishFrames(  # noqa: N802 - the RPC's name
        self, request_iterator: AsyncIterator[PublishFramesRequest], context: Any
    ) -> AsyncIterator[PublishFramesResponse]:
        """Stores frame after frame without waiting for the one before, and answers in their order."""
        appends: asyncio.Queue[asyncio.Task[int] | None] = asyncio.Queue(IN_FLIGHT)

        async def receive() -> None:
            async for request in request_iterator:
                await appends.put(asyncio.create_task(self._append(request.frame)))
            await appends.put(None)

        receiving = asyncio.create_task(receive())
        while (append := await appends.get()) is not None:
            yield PublishFramesResponse(offset=await append, durability=Durability.DURABILITY_DISK)
        await receiving

    async def _append(self, frame: bytes) -> int:
        return await self._logs.append(PARTITION, [frame])


async def start(folder: Path) -> Server:
    """Starts the floor as a process of its own, with its store in a folder."""
    return await launch([sys.executable, "-m", "bench.bus.floor", str(folder)])


async def main(folder: Path) -> None:
    """Serves until SIGTERM."""
    store = await open_sqlite(folder, clock=SystemClock())
    server = aio.server(options=OPTIONS)
    publish_service_pb2_grpc.add_PublishServiceServicer_to_server(Floor(store), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(None)
    await store.close()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
