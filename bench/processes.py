"""The processes that are measured: how they are started, what they use, and how they are ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
# Servers are started by exec: gRPC need not get ready for a fork. Its own log is not part of the report.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


@dataclass(slots=True)
class Server:
    """A server process that has said where it listens."""

    process: asyncio.subprocess.Process
    address: str

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def resident_bytes(self) -> int:
        """Returns the memory it holds, without pages that it shares with files."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the process is gone")

    def cpu_seconds(self) -> float:
        """Returns the processor time that it has used, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    async def kill(self) -> None:
        """Kills it with SIGKILL."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """Ends it with SIGTERM."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        await self.process.wait()


async def launch_kernel(data_dir: str) -> Server:
    """Starts a kernel with `sira dev`, on a port that the system chooses."""
    return await launch([sys.executable, "-m", "sira_grpc", "dev", "--listen", "127.0.0.1:0", "--data-dir", data_dir])


async def launch_bare() -> Server:
    """Starts the floor."""
    return await launch([sys.executable, "-m", "bench.bare"])


@contextlib.asynccontextmanager
async def serve(launched: Awaitable[Server]) -> AsyncIterator[Server]:
    """Has a server for as long as the block."""
    server = await launched
    try:
        yield server
    finally:
        await server.stop()


async def launch(command: Sequence[str]) -> Server:
    """Starts a server and waits for its first line, in which its address is the first word with a colon.

    Raises:
        RuntimeError: it ended instead.
    """
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"{' '.join(command)} ended with {await process.wait()} before it listened")
    return Server(process, next((word for word in line.decode().split() if ":" in word), ""))
