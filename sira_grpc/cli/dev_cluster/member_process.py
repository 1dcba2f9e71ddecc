"""A member of a development cluster: `sira up` as a child process, whose log is passed on line by line."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from sira_grpc.cli.dev_cluster.tether import tether
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import say

STOP_SECONDS = 30.0
"""How long a member may take to drain before it is killed."""
READ_BYTES = 64 << 10


class MemberProcess:
    """One member, which can be started again when it has ended.

    Args:
        name: that its lines are marked with.
        arguments: of `sira up`.
        environment: of the process.

    Attributes:
        ready: what it said on stdout when it began to serve.
    """

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.ready: dict[str, Any] = {}
        self._arguments = arguments
        self._environment = environment
        self._process: Process | None = None
        self._passing: list[asyncio.Task[None]] = []

    @property
    def pid(self) -> int:
        """The process id; 0 if it does not run."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else 0

    async def start(self) -> None:
        """Starts it, and returns once it serves.

        Raises:
            Failure: it has ended before.
        """
        process = self._process = await asyncio.create_subprocess_exec(
            *tether(),
            *(sys.executable, "-m", "sira_grpc", "up", "-o", "json", *self._arguments),
            env=dict(self._environment),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )
        assert process.stdout is not None, "it is a pipe"
        assert process.stderr is not None, "it is a pipe"
        self._passing = [asyncio.create_task(self._pass_on(process.stderr), name=f"log of {self.name}")]
        try:
            line = await process.stdout.readline()
            if not line:
                code = await self.ended()
                raise Failure(
                    f"member {self.name} has ended before it served ({describe(code)}): see what it says above"
                )
            self.ready = json.loads(line)
        except BaseException:
            await self.kill()
            raise
        self._passing.append(asyncio.create_task(self._pass_on(process.stdout), name=f"output of {self.name}"))

    async def ended(self) -> int:
        """Returns its exit code once it has ended and all that it said was passed on; negative for a signal."""
        process = self._process
        assert process is not None, "it was started"
        code = await process.wait()
        await asyncio.gather(*self._passing)
        return code

    async def stop(self) -> None:
        """Has it drain and end (SIGTERM), or kills it when that takes longer than 30 s. Idempotent."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Kills it (SIGKILL). Idempotent."""
        await self._end(signal.SIGKILL)

    async def _end(self, number: int) -> None:
        process = self._process
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)  # a frozen one does not hear SIGTERM
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self.ended()
        except TimeoutError:
            say(f"{self.name} has not ended in {STOP_SECONDS:g} s: it is killed")
            with suppress(ProcessLookupError):
                process.kill()
            await self.ended()

    async def _pass_on(self, stream: asyncio.StreamReader) -> None:
        """Says each line after the name, whole, however long it is."""
        left = b""
        while chunk := await stream.read(READ_BYTES):
            *lines, left = (left + chunk).split(b"\n")
            for line in lines:
                self._say(line)
        if left:
            self._say(left)

    def _say(self, line: bytes) -> None:
        say(f"{self.name} | {line.decode(errors='replace')}")


def describe(code: int) -> str:
    """Returns an exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
