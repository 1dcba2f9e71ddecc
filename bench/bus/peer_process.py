"""A broker as a process: started, waited for, and ended."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

START_SECONDS = 20


@asynccontextmanager
async def running(command: Sequence[str], ready: str) -> AsyncIterator[re.Match[str]]:
    """Runs a server for as long as the block, and yields where its output first matches.

    Args:
        command: to run.
        ready: a regular expression for the line that says that it serves.

    Raises:
        RuntimeError: it ended instead.
        TimeoutError: it says nothing of the kind.
    """
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None, "it was started with a pipe"
    # What it says later is read too: a full pipe would hold it up.
    rest: asyncio.Task[bytes] | None = None
    try:
        async with asyncio.timeout(START_SECONDS):
            matched = await _match(process.stdout, ready)
        if matched is None:
            raise RuntimeError(f"{command[0]} ended with {await process.wait()} before it served")
        rest = asyncio.create_task(process.stdout.read())
        yield matched
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        if rest is not None:
            await rest


async def _match(output: asyncio.StreamReader, ready: str) -> re.Match[str] | None:
    async for line in output:
        if matched := re.search(ready, line.decode(errors="replace")):
            return matched
    return None
