"""The development cluster: its servers and members, in the order in which they start and stop, and started again."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sira_grpc.background import Background
from sira_grpc.cli.dev_cluster.member_process import MemberProcess, describe
from sira_grpc.cli.dev_cluster.tether import tether
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import say
from sira_grpc.nats_servers import SYSTEM_USER, NatsCluster, NatsServer, free_ports

HOST = "127.0.0.1"
NODES = 3
RESTART_SECONDS = 1.0
"""How long after its end something is started again: long enough to watch what the others do meanwhile."""
MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Plan:
    """What a development cluster is to be.

    Attributes:
        directory: of everything that it writes.
        ports: of the members, one each, then those for callers with tokens, one each.
        arguments: of `sira up`, for each member.
        environment: of each member.
    """

    directory: Path
    ports: Sequence[int]
    arguments: Sequence[str]
    environment: Mapping[str, str]


class DevCluster:
    """Three NATS servers, and the members on them."""

    def __init__(self, plan: Plan) -> None:
        self.directory = plan.directory
        password = secrets.token_hex(16)  # of the user who sees that what is acknowledged is on the disk
        self.nodes = NatsCluster(plan.directory, NODES, system_password=password, command=tether())
        count = len(plan.ports) // 2
        self.members = [
            MemberProcess(
                f"m{number}",
                plan.arguments,
                {
                    **plan.environment,
                    "SIRA_STORE_URL": self.nodes.url,
                    "SIRA_STORE_SYSTEM_USER": SYSTEM_USER,
                    "SIRA_STORE_SYSTEM_PASSWORD": password,
                    "SIRA_STORE_DATA_DIR": str(plan.directory / f"m{number}"),
                    "SIRA_IDENTITY_DIR": str(plan.directory / "identity"),
                    "SIRA_SERVER_ADDRESSES": f"{HOST}:{port}",
                    "SIRA_SERVER_TOKEN_ADDRESSES": f"{HOST}:{token_port}",
                },
            )
            for number, (port, token_port) in enumerate(zip(plan.ports[:count], plan.ports[count:], strict=True), 1)
        ]
        self._background = Background()

    async def start(self) -> None:
        """Starts the servers, then the members, the first one before the others: it founds what the others find.

        Raises:
            Failure: a member does not start.
            StoreUnavailable: there is no nats-server, or they do not become a cluster.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.stop)
            await self.nodes.start()
            first, *others = self.members
            await first.start()
            await _all(member.start() for member in others)
            for node in self.nodes.servers:
                self._background.own(_keep_node(node), f"restarts of {node.name}")
            for member in self.members:
                self._background.own(_keep_member(member), f"restarts of {member.name}")
            stack.pop_all()

    @property
    def failed(self) -> asyncio.Event:
        """Something cannot be started again."""
        return self._background.failed

    async def stop(self) -> None:
        """Stops the members, which drain, then the servers. Idempotent."""
        await self._background.cancel()
        await asyncio.gather(*(member.stop() for member in self.members))
        await self.nodes.stop()

    async def kill(self) -> None:
        """Kills what still runs."""
        await asyncio.gather(*(member.kill() for member in self.members), *(node.kill() for node in self.nodes.servers))


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Does things at once. When one fails, the others are cancelled."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_node(node: NatsServer) -> None:
    while True:
        _say_ended(node.name, await node.ended())
        await asyncio.sleep(RESTART_SECONDS)
        await node.start()
        say(f"{node.name} runs again: pid {node.pid}")


async def _keep_member(member: MemberProcess) -> None:
    while True:
        _say_ended(member.name, await member.ended())
        await asyncio.sleep(RESTART_SECONDS)
        try:
            await member.start()
        except Failure:
            continue  # the next round says how it has ended
        say(f"{member.name} serves again: pid {member.pid}")


def _say_ended(name: str, code: int) -> None:
    say(f"{name} has ended ({describe(code)}); it is started again in {RESTART_SECONDS:g} s")


def choose_ports(first: int, members: int) -> list[int]:
    """Returns two ports for each member: those from the first one on, or free ones if that is 0.

    Raises:
        Failure: there are not so many.
    """
    if first == 0:
        return free_ports(2 * members, HOST)
    if first + 2 * members > MAX_PORT + 1:
        raise Failure(f"--port: must leave {2 * members} ports up to {MAX_PORT}", ExitCode.USAGE)
    return list(range(first, first + 2 * members))


@contextmanager
def holding(directory: Path) -> Iterator[Path]:
    """Makes a directory, for its owner alone, and has it to itself until the end of the block or of the process.

    Raises:
        Failure: another cluster runs in it.
        OSError: it cannot be used.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Failure(f"--dir: another cluster runs in {directory}") from error
        yield directory.absolute()
    finally:
        os.close(handle)
