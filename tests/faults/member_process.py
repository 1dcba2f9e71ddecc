"""One kernel member as a process that is started again when it ends, as whatever runs it in production would."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

AGAIN_SECONDS = 0.3
"""Between the end of a process and the next start."""
STOP_SECONDS = 40


class MemberProcess:
    """A member that keeps its address over all its lives.

    Args:
        name: for people, and of the file that it logs to.
        port: on loopback, where it listens.
        folder: of the file.
        environment: further variables.
        ended: told how a life ended that nobody has asked to end, after it was ready.
    """

    def __init__(
        self, name: str, port: int, folder: Path, environment: Mapping[str, str], ended: Callable[[str], None]
    ) -> None:
        self.name = name
        self.port = port
        self.log = folder / f"{name}.log"
        self.starts = 0
        self._environment = environment
        self._ended = ended
        self._process: asyncio.subprocess.Process | None = None
        self._wanted = asyncio.Event()
        self._ready = asyncio.Event()
        self._expected = False
        self._keeping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Of the process; 0 while there is none."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else 0

    async def start(self) -> None:
        """Has it run from now on. It need not be ready yet."""
        self._wanted.set()
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep())

    async def ready(self) -> None:
        """Returns when it serves."""
        await self._ready.wait()

    def kill(self) -> None:
        """Ends it with SIGKILL, and keeps it from starting again until start."""
        self._end(signal.SIGKILL)

    def terminate(self) -> None:
        """Ends it with SIGTERM, and keeps it from starting again until start."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Freezes it."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        self._send(signal.SIGCONT)

    async def close(self) -> None:
        """Ends it in good order, and kills it if that takes too long."""
        if self._keeping is None:
            return
        self.terminate()
        self.resume()
        if self._process is not None:
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self.kill()
                self._ended(f"{self.name} did not stop within {STOP_SECONDS} s")
        self._keeping.cancel()
        await asyncio.wait([self._keeping])
        self.kill()
        if self._process is not None:
            await self._process.wait()

    def tail(self, size: int = 2000) -> str:
        """The end of what it has logged."""
        return self.log.read_text(errors="replace")[-size:]

    def _end(self, number: int) -> None:
        self._wanted.clear()
        self._ready.clear()
        self._expected = True
        self._send(number)

    def _send(self, number: int) -> None:
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def _keep(self) -> None:
        while True:
            await self._wanted.wait()
            with self.log.open("ab") as log:
                await self._live(log)
            await asyncio.sleep(AGAIN_SECONDS)

    async def _live(self, log: BinaryIO) -> None:
        """One life, from start to end."""
        self._expected = False
        self.starts += 1
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sira_grpc", "up", "-o", "json"),
            env={**os.environ, **self._environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        assert process.stdout is not None, "it was started with a pipe"
        line = await process.stdout.readline()
        ready = bool(line) and "addresses" in json.loads(line)
        if ready and not self._expected:
            self._ready.set()
        await process.stdout.read()
        code = await process.wait()
        self._ready.clear()
        if ready and not self._expected:
            self._ended(f"{self.name} ended with {code}: {self.tail(800)}")
