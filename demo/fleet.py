"""What the demo runs: a kernel, the greeters and their callers."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import dataclass
from pathlib import Path

from demo.processes import Process, Processes

READY_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Place:
    """A locality."""

    region: str
    zone: str

    def __str__(self) -> str:
        return f"{self.region}/{self.zone}"


WEST_A, WEST_B, EAST_A = Place("eu-west", "a"), Place("eu-west", "b"), Place("us-east", "a")
GREETERS = {
    "greeter-1": WEST_A,
    "greeter-2": WEST_A,
    "greeter-3": WEST_B,
    "greeter-4": WEST_B,
    "greeter-5": EAST_A,
    "greeter-6": EAST_A,
}
CALLERS = {"caller-1": WEST_A, "caller-2": EAST_A}
CALLS_PER_SECOND = 100
"""Of each caller."""


@dataclass(slots=True)
class Greeter:
    """One process of the service."""

    place: Place
    process: Process
    fate: str = ""
    """What has been done to it; empty while it runs."""


class Fleet:
    """The processes, by name.

    Args:
        processes: starts them, and ends those that are left.
        folder: for the kernel's data.
    """

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.address = "127.0.0.1:0"
        self.greeters: dict[str, Greeter] = {}
        self.callers: dict[str, Process] = {}
        self.kernel: Process | None = None
        self._processes = processes
        self._data = folder / "data"

    @property
    def running(self) -> dict[str, Greeter]:
        """The greeters to which nothing has been done."""
        return {name: greeter for name, greeter in self.greeters.items() if not greeter.fate}

    async def start_kernel(self) -> float:
        """Starts the kernel, again at the same address if it was there before; returns the seconds that it took.

        Raises:
            RuntimeError: it did not start.
        """
        arguments = ["dev", "-o", "json", "--listen", self.address, "--data-dir", str(self._data)]
        self.kernel = await self._processes.python("kernel", "-m", "sira_grpc", *arguments)
        try:
            async with asyncio.timeout(READY_SECONDS):
                line = await anext(aiter(self.kernel.lines()), "")
        except TimeoutError:
            line = ""
        if not line:
            raise RuntimeError(f"the kernel did not start: {self.kernel.last_words()}")
        ready = json.loads(line)
        self.address = ready["addresses"][0]
        return float(ready["secondsToStart"])

    async def start_greeter(self, name: str, place: Place) -> None:
        """Starts a process of the service. It is not registered yet when this returns."""
        module = ("-m", "demo.greeter_process", self.address, name, place.region, place.zone)
        self.greeters[name] = Greeter(place, await self._processes.python(name, *module))

    async def start_caller(self, name: str, place: Place) -> Process:
        """Starts a caller, which calls as soon as it sees the service."""
        module = ("-m", "demo.caller_process", self.address, name, place.region, place.zone, str(CALLS_PER_SECOND))
        self.callers[name] = await self._processes.python(name, *module)
        return self.callers[name]

    async def kill(self, name: str) -> None:
        """Ends a greeter with SIGKILL: it has no time to say anything to anybody."""
        greeter = self.greeters[name]
        greeter.fate = "killed"
        greeter.process.signal(signal.SIGKILL)
        await greeter.process.wait()

    async def stop(self, name: str) -> int:
        """Ends a greeter with SIGTERM, so that it deregisters, and returns its exit code."""
        greeter = self.greeters[name]
        greeter.fate = "stopped"
        greeter.process.signal(signal.SIGTERM)
        return await greeter.process.wait()

    async def stop_caller(self, name: str) -> int:
        """Ends a caller with SIGTERM, so that the calls that are under way finish, and returns its exit code."""
        self.callers[name].signal(signal.SIGTERM)
        return await self.callers[name].wait()

    async def kill_kernel(self) -> None:
        """Ends the kernel with SIGKILL."""
        await self._end_kernel(signal.SIGKILL)

    async def stop_kernel(self) -> int:
        """Ends the kernel with SIGTERM, and returns its exit code."""
        return await self._end_kernel(signal.SIGTERM)

    async def _end_kernel(self, number: signal.Signals) -> int:
        assert self.kernel is not None, "it was started"
        self.kernel.signal(number)
        return await self.kernel.wait()

    def lost(self) -> list[Process]:
        """The processes that have ended of themselves."""
        should_run = [*(greeter.process for greeter in self.running.values()), *self.callers.values()]
        return [process for process in should_run if process.ended]
