"""The `sira` command as a process of its own, read line by line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from queue import Queue
from types import TracebackType
from typing import IO, Any, Self

DEADLINE = 30
"""Seconds after which a test gives up on a process."""


class SiraProcess:
    """One run of `sira`, whose lines can be waited for. At the end of the block it is killed if it still runs.

    Args:
        arguments: of the command.
        environment: further variables.
    """

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sira_grpc", *arguments],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._out: Queue[str | None] = Queue()
        self._err: Queue[str | None] = Queue()
        self._readers = [self._read(self._process.stdout, self._out), self._read(self._process.stderr, self._err)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def line(self) -> str:
        """Waits for the next line of stdout."""
        line = self._out.get(timeout=DEADLINE)
        assert line is not None, f"ended with {self.wait()}: {self.rest()}"
        return line

    def json(self) -> dict[str, Any]:
        """Waits for the next line of stdout, which is a JSON object."""
        return dict(json.loads(self.line()))

    def chatter(self, containing: str) -> str:
        """Waits for a line of stderr that contains a text."""
        while True:
            line = self._err.get(timeout=DEADLINE)
            assert line is not None, f"ended with {self.wait()} and never said {containing!r}"
            if containing in line:
                return line

    def terminate(self) -> int:
        """Sends SIGTERM, waits for the end and returns the exit code."""
        self._process.terminate()
        return self.wait()

    def interrupt(self) -> int:
        """Presses Ctrl-C, waits for the end and returns the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self.wait()

    def kill(self) -> None:
        """Ends it without a word."""
        self._process.kill()
        self._process.wait()

    def wait(self) -> int:
        """Waits for the end and returns the exit code."""
        return self._process.wait(timeout=DEADLINE)

    def rest(self) -> list[str]:
        """What is left of stderr, of a process that has ended."""
        return [line for line in iter(lambda: self._err.get(timeout=DEADLINE), None) if line]

    def _read(self, stream: IO[str] | None, lines: Queue[str | None]) -> threading.Thread:
        assert stream is not None

        def read() -> None:
            for line in stream:
                lines.put(line.rstrip("\n"))
            lines.put(None)

        reader = threading.Thread(target=read)
        reader.start()
        return reader


def dev(*arguments: str) -> SiraProcess:
    """Starts a kernel for development on a free port."""
    return SiraProcess("dev", "-o", "json", "--listen", "127.0.0.1:0", *arguments)


def up(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> SiraProcess:
    """Starts a kernel where every caller has an identity, on free ports, with all that it writes in a folder."""
    own = {
        "SIRA_SERVER_ADDRESSES": "127.0.0.1:0",
        "SIRA_SERVER_TOKEN_ADDRESSES": "127.0.0.1:0",
        "SIRA_STORE_DATA_DIR": str(folder / "data"),
        "SIRA_IDENTITY_DIR": str(folder / "identity"),
    }
    return SiraProcess("up", "-o", "json", *arguments, environment={**own, **(environment or {})})
