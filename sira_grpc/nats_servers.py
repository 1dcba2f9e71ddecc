"""The nats-server processes of a development cluster, and whether they serve yet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from sira_grpc.errors import StoreUnavailable
from sira_grpc.nats_server import MAX_PAYLOAD_BYTES, SYSTEM_USER, NatsPorts, NatsServer, free_ports

__all__ = ["MAX_PAYLOAD_BYTES", "SYSTEM_USER", "NatsCluster", "NatsPorts", "NatsServer", "free_ports"]

START_SECONDS = 60.0


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

    async def current(self, within: float = START_SECONDS) -> None:
        """Returns once every replica of every stream has everything: any one of three servers may be lost then.

        Args:
            within: seconds.

        Raises:
            StoreUnavailable: that takes longer, or a server has ended.
        """
        await self.ready(within)
        try:
            async with asyncio.timeout(within):
                await _become_current(self.servers[0])
        except TimeoutError:
            raise StoreUnavailable(f"the NATS servers at {self.url} have lagging replicas after {within:g} s") from None

    async def stream_leader(self, stream: str) -> NatsServer | None:
        """Returns the server that leads a stream; None while there is none, or no such stream."""
        for server in self.servers:
            if server.running:
                found = await _leader(server, stream)
                if found:
                    return next(one for one in self.servers if one.name == found)
        return None


async def _connected(server: NatsServer) -> Client:
    """Returns a client of one server, once it accepts one."""
    while True:
        if not server.running:
            raise StoreUnavailable(f"{server.name} has ended: {server.output[-2000:]}")
        client = Client()
        try:
            await client.connect(server.url, **_ONCE)
        except (OSError, NatsError, TimeoutError):
            await client.close()
        else:
            return client
        await asyncio.sleep(0.05)


async def _answers(server: NatsServer) -> None:
    while True:
        client = await _connected(server)
        try:
            await client.jetstream(timeout=0.25).account_info()
        except (NatsError, JetStreamError, TimeoutError):
            await asyncio.sleep(0.05)
        else:
            return
        finally:
            await client.close()


async def _leader(server: NatsServer, stream: str) -> str | None:
    client = Client()
    try:
        async with asyncio.timeout(2):
            await client.connect(server.url, **_ONCE)
            info = await client.jetstream(timeout=1).stream_info(stream)
    except (NatsError, JetStreamError, OSError, TimeoutError):
        return None
    finally:
        await client.close()
    return info.cluster.leader if info.cluster else server.name


async def _become_current(server: NatsServer) -> None:
    """Returns once every stream has a leader, and every replica of it has everything."""
    while True:
        client = await _connected(server)
        try:
            streams = [stream.cluster for stream in await client.jetstream(timeout=2).streams_info()]
            if all(one.leader and all(peer.current for peer in one.replicas or []) for one in streams if one):
                return
        except (NatsError, JetStreamError, TimeoutError):
            pass  # it has no leader: asked again
        finally:
            await client.close()
        await asyncio.sleep(0.05)


async def _ignore(error: Exception) -> None:
    """Takes what the client reports on its own; what matters is raised by the call."""


_ONCE: dict[str, Any] = {
    "allow_reconnect": False,
    "max_reconnect_attempts": 1,
    "reconnect_time_wait": 0.05,
    "connect_timeout": 1,
    "error_cb": _ignore,
}
"""How a client connects that is to find out whether it can."""
