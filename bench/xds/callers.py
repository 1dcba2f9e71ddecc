"""The programs that call: unmodified clients of gRPC, one for each language, told what to do line by line.

They are those of the matrix of clients, and speak what tests/mesh/clients/PROTOCOL.md says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LONGEST_LINE = 1 << 20
ANSWER_SECONDS = 60


class Caller:
    """A program that runs. It is asked one thing after the other.

    Args:
        name: for people.
        process: it, with pipes.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process
        self._asking = asyncio.Lock()
        self._asked = 0

    async def ask(self, op: str, channel: str, **fields: Any) -> dict[str, Any]:
        """Has a command carried out.

        Raises:
            RuntimeError: it cannot be, or the program has ended.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        async with self._asking, asyncio.timeout(ANSWER_SECONDS):
            self._asked += 1
            command = {"id": self._asked, "op": op, "channel": channel, **fields}
            stdin.write(json.dumps(command).encode() + b"\n")
            line = await stdout.readline()
        answer: dict[str, Any] = json.loads(line or b'{"error": "it has ended"}')
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {op}: {answer['error']}")
        return answer


async def command(language: str) -> Sequence[str] | None:
    """Builds the program of a language, where it has changed. Returns its command; None if its tools are not there.

    Raises:
        RuntimeError: it does not build.
    """
    builds = [sys.executable, "-m", "tests.mesh.builds", language]
    process = await asyncio.create_subprocess_exec(*builds, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    answer, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the {language} client cannot be built")
    found: Sequence[str] | None = json.loads(answer)
    return found


@contextlib.asynccontextmanager
async def running(name: str, command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[Caller]:
    """Runs a program for the length of the block."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
    )
    try:
        yield Caller(name, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
