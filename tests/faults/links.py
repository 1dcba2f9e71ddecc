"""The network between the processes of a world: a relay on loopback for each link, so that each can be broken."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

ANSWER_SECONDS = 10


class Links:
    """Links by name. Made by `network`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()
        self.names: list[str] = []

    async def open(self, name: str, port: int) -> int:
        """Opens a link to a port of loopback, and returns the port that leads there."""
        self.names.append(name)
        return int((await self._order(do="open", link=name, port=port))["port"])

    async def hold(self, names: Iterable[str]) -> None:
        """Lets nothing through, as if every packet were lost."""
        await self._set(names, "hold")

    async def cut(self, names: Iterable[str]) -> None:
        """Resets connections, and every new one."""
        await self._set(names, "cut")

    async def delay(self, names: Iterable[str], seconds: float) -> None:
        """Lets everything through, in each direction so much later, in seconds."""
        await self._set(names, "pass", seconds)

    async def mend(self, names: Iterable[str]) -> None:
        """Lets everything through at once."""
        await self._set(names, "pass")

    async def _set(self, names: Iterable[str], mode: str, delay: float = 0.0) -> None:
        await self._order(do="set", links=sorted(names), mode=mode, delay=delay)

    async def _order(self, **order: Any) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None, "it was started with pipes"
        assert process.stdout is not None, "it was started with pipes"
        async with self._turn, asyncio.timeout(ANSWER_SECONDS):
            process.stdin.write(json.dumps(order).encode() + b"\n")
            await process.stdin.drain()
            line = await process.stdout.readline()
        assert line, "the relay has ended"
        return dict(json.loads(line))


@asynccontextmanager
async def network() -> AsyncIterator[Links]:
    """Has links for the length of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.relay", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Links(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
