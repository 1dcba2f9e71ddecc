"""Reads a log from its beginning, past what is damaged."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence

from sira_grpc.errors import StoreCorrupt
from sira_grpc.store.api import Frame, LogStore

READ_FRAMES = 256
READ_BYTES = 1 << 20
"""What is read at once. A frame may be larger."""

log = logging.getLogger(__name__)


async def read_log(logs: LogStore, name: str) -> AsyncGenerator[Frame, None]:
    """Yields the frames of a log in their order. One that is damaged is logged and left out."""
    held = await logs.range(name)
    number = held.first
    while number < held.next:
        frames = await _read_some(logs, name, number)
        for frame in frames:
            yield frame
        number = frames[-1].offset + 1 if frames else number + 1


async def _read_some(logs: LogStore, name: str, number: int) -> Sequence[Frame]:
    """Reads frames from a number on; none if the first of them is damaged."""
    try:
        return await logs.read(name, number, max_frames=READ_FRAMES, max_bytes=READ_BYTES)
    except StoreCorrupt:
        pass  # it may be one of those that follow
    try:
        return await logs.read(name, number, max_frames=1, max_bytes=1)
    except StoreCorrupt:
        log.error("%s: frame %d is damaged and left out", name, number)
        return ()
