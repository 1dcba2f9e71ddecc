"""The program that a sidecar runs beside Envoy: it does not outlive the sidecar, however that ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from sira_grpc.cli.dev_cluster.tether import tether
from sira_grpc.cli.output import say

SIGNALLED = 128
"""Exit code of a program that a signal has ended, less the number of the signal: as shells have it."""


class AppProcess:
    """Runs it. An async context manager: at the end of the block it is ended, with all that it has started.

    Args:
        command: the program and its arguments.
        environment: further variables.
        grace: seconds that it has to end after SIGTERM, before SIGKILL.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], grace: float) -> None:
        self._command = command
        self._environment = {**os.environ, **environment}
        self._grace = grace
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            say(f"ending {self._command[0]} with {number.name}")
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._grace):
                    await process.wait()
                    return

    async def start(self) -> None:
        """Starts it, in a session of its own."""
        self._process = await asyncio.create_subprocess_exec(*tether(), *self._command, env=self._environment)

    async def ended(self) -> int:
        """Returns its exit code once it has ended; waits for ever for one that was not started."""
        if self._process is None:
            await asyncio.Event().wait()
        assert self._process is not None, "it was started"
        code = await self._process.wait()
        return SIGNALLED - code if code < 0 else code
