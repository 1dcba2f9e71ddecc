"""The peer: a server on go-control-plane, if there is Go to build it with."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Report
from bench.processes import Server

SOURCE = Path(__file__).parent / "go_control_plane"


async def build(folder: Path, report: Report) -> Path | None:
    """Returns the program; None, and says why, where it cannot be built."""
    go = shutil.which("go")
    if go is None:
        report.say("  go-control-plane: left out, there is no go")
        return None
    program = folder / "go_control_plane"
    process = await asyncio.create_subprocess_exec(go, "build", "-o", str(program), ".", cwd=SOURCE)
    if await process.wait():
        report.say("  go-control-plane: left out, it could not be built")
        return None
    return program


@dataclass(frozen=True, slots=True)
class GoPeer:
    """A server that pushes when it is told so on stdin, and answers each command with a line."""

    server: Server

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, program: Path | None) -> AsyncIterator[GoPeer | None]:
        """Has one for the length of the block; None if there is no program."""
        if program is None:
            yield None
            return
        process = await asyncio.create_subprocess_exec(
            str(program), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=sys.stderr
        )
        assert process.stdout is not None
        server = Server(process, (await process.stdout.readline()).decode().strip())
        try:
            yield cls(server)
        finally:
            await server.stop()

    async def load(self, name: str, endpoints: int) -> None:
        """Gives it a service."""
        await self._tell(f"load {name} {endpoints}")

    async def push(self, number: int) -> None:
        """Has it change the weight of one endpoint."""
        await self._tell("push")

    async def _tell(self, command: str) -> None:
        stdin, stdout = self.server.process.stdin, self.server.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{command}\n".encode())
        if not await stdout.readline():
            raise RuntimeError("go-control-plane has ended")
