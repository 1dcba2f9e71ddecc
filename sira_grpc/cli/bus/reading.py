"""Reads stdin or a file, whole or line by line, without holding up what else is under way."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from typing import IO

from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

CHUNK_BYTES = 1 << 16
MAX_BYTES = 1 << 20
"""Size of a record, at most."""


async def whole(stream: IO[bytes], source: str) -> bytes:
    """Reads everything.

    Args:
        stream: to read.
        source: what the error names.

    Raises:
        Failure: it is more than a record may have.
    """
    read = b""
    while chunk := await _chunk(stream):
        read += chunk
        if len(read) > MAX_BYTES:
            raise Failure(f"{source}: must be at most {MAX_BYTES:,} bytes, or --lines", ExitCode.USAGE)
    return read


async def lines(stream: IO[bytes], source: str) -> AsyncIterator[bytes]:
    """Yields each line as soon as it is there, without its end. Empty ones are left out.

    Args:
        stream: to read.
        source: what the error names.

    Raises:
        Failure: a line is more than a record may have.
    """
    rest, number = b"", 0
    while chunk := await _chunk(stream):
        *ended, rest = (rest + chunk).split(b"\n")
        for line in ended:
            number += 1
            if stripped := line.removesuffix(b"\r"):
                yield stripped
        if len(rest) > MAX_BYTES:
            raise Failure(f"{source}: line {number + 1} must be at most {MAX_BYTES:,} bytes", ExitCode.USAGE)
    if rest:
        yield rest


async def _chunk(stream: IO[bytes]) -> bytes:
    """What there is to read, once there is some; nothing at the end."""
    try:
        number = stream.fileno()
    except io.UnsupportedOperation:
        return stream.read(CHUNK_BYTES)
    await _readable(number)
    return os.read(number, CHUNK_BYTES)


async def _readable(number: int) -> None:
    """Waits until there is something to read. Of a regular file there always is, and nobody tells."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(number, ready.set)
    except PermissionError:
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(number)
