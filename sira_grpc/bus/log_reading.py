"""Reads a log from one frame to another, past what is damaged."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from sira_grpc.errors import StoreCorrupt
from sira_grpc.store.api import Frame, LogRange, LogStore

READ_FRAMES = 256
READ_BYTES = 1 << 20
"""What is read at once. A frame may be larger."""

log = logging.getLogger(__name__)


async def read_frames(
    logs: LogStore, name: str, first: int, end: int
) -> AsyncGenerator[tuple[int, Frame | None], None]:
    """Yields the numbers from first to before end, each with its frame; None for a frame that is damaged.

    Those that are not there, or go meanwhile, are left out.

    Raises, from the iteration:
        StoreUnavailable: the store cannot be read.
    """
    number, alone = first, first
    while number < end:
        try:
            # Where one of many is damaged, they are read one by one.
            many = 1 if number < alone else READ_FRAMES
            frames = await logs.read(name, number, max_frames=many, max_bytes=READ_BYTES)
        except StoreCorrupt:
            if number >= alone:
                alone = number + READ_FRAMES
                continue
            yield number, None
            number += 1
            continue
        if not frames:
            return
        for frame in frames:
            if frame.offset < end:
                yield frame.offset, frame
        number = frames[-1].offset + 1


async def read_log(logs: LogStore, name: str, held: LogRange) -> AsyncGenerator[Frame, None]:
    """Yields the frames in a range of a log, in their order. One that is damaged is logged and left out."""
    async with aclosing(read_frames(logs, name, held.first, held.next)) as frames:
        async for number, frame in frames:
            if frame is None:
                log.error("%s: frame %d is damaged and left out", name, number)
            else:
                yield frame
