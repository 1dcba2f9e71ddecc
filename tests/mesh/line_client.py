"""A client program that runs, asked line by line."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.mesh.builds import ROOT, Command

ANSWER_SECONDS = 60
"""After which an answer is given up."""
END_SECONDS = 5
_LONGEST_LINE = 1 << 20


class LineClient:
    """A client program; see clients/PROTOCOL.md. Made by `running`.

    Args:
        process: it, with pipes.
        log: file of what it writes to stderr.
    """

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self._ids = itertools.count()
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read())

    async def ask(self, op: str, channel: str, **fields: Any) -> dict[str, Any]:
        """Has a command carried out, beside those that are under way.

        Raises:
            AssertionError: it cannot be, or the program has ended.
        """
        assert not self._reading.done(), self._ended()
        id_ = next(self._ids)
        answer = self._asked[id_] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": id_, "op": op, "channel": channel, **fields}).encode() + b"\n")
        try:
            async with asyncio.timeout(ANSWER_SECONDS + fields.get("timeout", 0)):
                told: dict[str, Any] = await answer
        finally:
            del self._asked[id_]
        assert "error" not in told, f"{op}: {told['error']}"
        return told

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            told = json.loads(line)
            answer = self._asked.get(told["id"])
            if answer is not None and not answer.done():
                answer.set_result(told)
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_result({"error": self._ended()})

    def _ended(self) -> str:
        return f"the client has ended: {self._log.read_text(errors='replace')[-2000:]}"

    async def end(self) -> None:
        """Closes its stdin, and kills it if it does not end at that."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reading


@asynccontextmanager
async def running(command: Command, environment: Mapping[str, str], log: Path) -> AsyncIterator[LineClient]:
    """Runs a client program for the length of the block."""
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=file,
            limit=_LONGEST_LINE,
        )
    client = LineClient(process, log)
    try:
        yield client
    finally:
        await client.end()
