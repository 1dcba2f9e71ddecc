"""What the demo runs: a kernel, the agent that keeps identities, the greeters and their callers."""

from __future__ import annotations

import json
import shlex
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

from demo.processes import HERE, Process, Processes

READY_SECONDS = 20.0
TRUST_DOMAIN = "demo.sira"
SETTINGS = {
    "SIRA_IDENTITY_TRUST_DOMAIN": TRUST_DOMAIN,
    # Nobody here looks from time to time: all follow.
    "SIRA_IDENTITY_ROTATION_MIN_STAGE": "1",
}


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
SERVICES = ("greeter", "caller", "shop", "warehouse")
NODE = "host-1"
VERSION, NEW_VERSION = "1.0", "2.0"
ENVOY = next(Path(HERE, ".venv-envoy", "lib").glob("python*/site-packages/envoy/_bin/envoy"), None)
"""The Envoy that the Makefile has installed; None where there is none for the platform."""
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
        folder: for the kernel's data, and the identities.
    """

    def __init__(self, processes: Processes, folder: Path) -> None:
        self.address = "127.0.0.1:0"
        self.token_address = "127.0.0.1:0"
        self.agent: Process | None = None
        self.greeters: dict[str, Greeter] = {}
        self.callers: dict[str, Process] = {}
        self.plain_callers: dict[str, Process] = {}
        self.sidecar: Process | None = None
        self.envoy = ENVOY
        self.kernel: Process | None = None
        self._processes = processes
        self._folder = folder

    @property
    def running(self) -> dict[str, Greeter]:
        """The greeters to which nothing has been done."""
        return {name: greeter for name, greeter in self.greeters.items() if not greeter.fate}

    async def start_kernel(self) -> float:
        """Starts the kernel, again at the same address if it was there before; returns the seconds that it took.

        Raises:
            RuntimeError: it did not start.
        """
        settings = {
            **SETTINGS,
            "SIRA_SERVER_ADDRESSES": self.address,
            "SIRA_SERVER_TOKEN_ADDRESSES": self.token_address,
            "SIRA_STORE_DATA_DIR": str(self._folder / "data"),
            "SIRA_IDENTITY_DIR": str(self._folder / "identity"),
        }
        self.kernel = await self._processes.python("kernel", "-m", "sira_grpc", "up", "-o", "json", settings=settings)
        ready = json.loads(await self.kernel.first_line(within=READY_SECONDS))
        self.address, self.token_address = ready["addresses"][0], ready["tokenAddresses"][0]
        return float(ready["secondsToStart"])

    @property
    def operator(self) -> Path:
        """Identity directory of the first operator, which the kernel has written."""
        return self._folder / "identity" / "operator"

    def identity(self, service: str) -> Path:
        """Identity directory of a service, which the agent writes."""
        return self._folder / "identities" / service

    async def start_agent(self, secret: str) -> None:
        """Starts the agent of this host: it joins with a token, and keeps the identities of the services.

        Raises:
            RuntimeError: it did not start.
        """
        files = [{"identity": f"ns/default/svc/{name}", "directory": str(self.identity(name))} for name in SERVICES]
        config = self._folder / "agent.yaml"
        config.write_text(json.dumps({"kernel": [self.address], "files": files}))  # JSON is YAML
        arguments = ["identity", "agent", "--config", str(config), "--dir", str(self._folder / "node")]
        arguments += ["--join", self.token_address, "--name", f"node/{NODE}"]
        settings = {"SIRA_JOIN_TOKEN": secret}
        self.agent = await self._processes.python("agent", "-m", "sira_grpc", *arguments, settings=settings)
        await self.agent.first_line(within=READY_SECONDS)

    async def start_greeter(self, name: str, place: Place, version: str = VERSION) -> None:
        """Starts a process of the service. It is not registered yet when this returns."""
        identity = str(self.identity("greeter"))
        module = ("-m", "demo.greeter_process", self.address, identity, name, place.region, place.zone, version)
        self.greeters[name] = Greeter(place, await self._processes.python(name, *module))

    async def start_caller(self, name: str, place: Place) -> Process:
        """Starts a caller, which calls as soon as it sees the service."""
        where = (self.address, str(self.identity("caller")), name, place.region, place.zone)
        module = ("-m", "demo.caller_process", *where, str(CALLS_PER_SECOND))
        self.callers[name] = await self._processes.python(name, *module)
        return self.callers[name]

    async def start_plain_callers(self, place: Place) -> list[str]:
        """Starts the callers that have no SDK, with what they need, and returns their names.

        Raises:
            RuntimeError: something did not start.
        """
        targets = {"xds-caller": ("xds:///greeter", await self._bootstrap(place))}
        if self.envoy is not None:
            targets["envoy-caller"] = (await self._start_sidecar(self.envoy, place), {})
        for name, (target, settings) in targets.items():
            arguments = ("-m", "demo.plain_caller_process", name, target, str(CALLS_PER_SECOND))
            self.plain_callers[name] = await self._processes.python(name, *arguments, settings=settings)
        return list(targets)

    async def _bootstrap(self, place: Place) -> dict[str, str]:
        """Has a bootstrap written for a plain gRPC client, and returns the environment that it needs."""
        where = ["--region", place.region, "--zone", place.zone, "--file", str(self._folder / "bootstrap.json")]
        who = ["--service", "caller", "--identity", str(self.identity("caller")), "--server", self.address]
        made = await self._processes.python("bootstrap", "-m", "sira_grpc", "bootstrap", *who, *where)
        exports = [line.removeprefix("export ").strip().partition("=") async for line in made.lines()]
        if await made.wait():
            raise RuntimeError(f"no bootstrap: {made.last_words()}")
        return {name: shlex.split(value)[0] for name, _, value in exports}

    async def _start_sidecar(self, envoy: Path, place: Place) -> str:
        """Starts an Envoy beside the caller, and returns where it takes calls."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        who = ["--service", "caller", "--identity", str(self.identity("caller")), "--addr", self.address]
        where = ["--region", place.region, "--zone", place.zone, "--egress", str(port), "--envoy", str(envoy)]
        self.sidecar = await self._processes.python("sidecar", "-m", "sira_grpc", "sidecar", *who, *where, "-o", "json")
        ready = json.loads(await self.sidecar.first_line(within=READY_SECONDS))
        return str(ready["egress"])

    async def stop_plain_callers(self) -> list[int]:
        """Ends the callers that have no SDK, and then the sidecar, with SIGTERM; returns the exit codes."""
        processes = [*self.plain_callers.values(), *([self.sidecar] if self.sidecar is not None else [])]
        codes = []
        for process in processes:
            process.signal(signal.SIGTERM)
            codes.append(await process.wait())
        self.plain_callers.clear()
        self.sidecar = None
        return codes

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

    async def stop_agent(self) -> int:
        """Ends the agent with SIGTERM, and returns its exit code."""
        assert self.agent is not None, "it was started"
        self.agent.signal(signal.SIGTERM)
        return await self.agent.wait()

    async def _end_kernel(self, number: signal.Signals) -> int:
        assert self.kernel is not None, "it was started"
        self.kernel.signal(number)
        return await self.kernel.wait()

    def lost(self) -> list[Process]:
        """The processes that have ended of themselves."""
        should_run = [*(greeter.process for greeter in self.running.values()), *self.callers.values()]
        should_run += self.plain_callers.values()
        should_run += [process for process in (self.agent, self.sidecar) if process is not None]
        return [process for process in should_run if process.ended]
