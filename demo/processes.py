"""Child processes: started in process groups of their own, and gone, with all they started, when the demo ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).resolve().parent.parent
LOG_LINES = 5


class Process:
    """One child process."""

    def __init__(self, name: str, child: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.pid = child.pid
        self._child = child
        self._log = log

    @property
    def ended(self) -> bool:
        """Whether it is gone."""
        return self._child.returncode is not None

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to it and to what it started. Nothing happens if they are gone."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def wait(self) -> int:
        """Waits for its end and returns its exit code, negative for the signal that ended it."""
        return await self._child.wait()

    async def lines(self) -> AsyncIterator[str]:
        """Yields what it prints on stdout."""
        assert self._child.stdout is not None, "it was started with a pipe"
        async for line in self._child.stdout:
            yield line.decode()

    async def first_line(self, *, within: float) -> str:
        """Returns the first line that it prints on stdout: it is ready.

        Raises:
            RuntimeError: it does not come within so many seconds.
        """
        try:
            async with asyncio.timeout(within):
                line = await anext(aiter(self.lines()), "")
        except TimeoutError:
            line = ""
        if not line:
            raise RuntimeError(f"{self.name} did not start: {self.last_words()}")
        return line

    def last_words(self) -> str:
        """The end of what it said on stderr."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:])


class Processes:
    """Starts processes. An async context manager: when the block is left, however that is, all of them are gone.

    Args:
        logs: folder for what they say on stderr.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._all: list[Process] = []

    async def python(self, name: str, *arguments: str, settings: Mapping[str, str] | None = None) -> Process:
        """Starts a Python process with this interpreter.

        Its environment is this process's, without the variables that would configure a kernel or a client, and with
        the settings.
        """
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SIRA_")}
        environment.update(settings or {})
        log = self._logs / f"{name}.log"
        with log.open("ab") as stderr:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                cwd=HERE,
                env=environment,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=stderr,
                start_new_session=True,
            )
        process = Process(name, child, log)
        self._all.append(process)
        return process

    async def __aenter__(self) -> Self:
        """Starts nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kills what is left."""
        for process in self._all:
            process.signal(signal.SIGKILL)
        for process in self._all:
            await process.wait()
