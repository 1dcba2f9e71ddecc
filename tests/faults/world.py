"""Three store nodes and three members as processes, with a link between any two of them that can be broken.

The links are relays and no network namespaces: those need root, and members, which speak plaintext on loopback only,
could not reach each other from one to another. So every machine runs the same faults.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from sira_grpc.nats_server import free_ports
from sira_grpc.nats_servers import NatsCluster, NatsPorts, NatsServer
from sira_grpc.store.nats_names import Names
from tests.faults.links import Links, network
from tests.faults.member_process import MemberProcess

NODES = 3
MEMBERS = 3
START_SECONDS = 60
STATE_STREAM = Names("sira").state
# Nodes tell each other and their clients of further addresses. Those would lead around the links.
_UNTOLD = 'cluster { no_advertise: true, advertise: "127.0.0.1:1", pool_size: -1, '


class Node(NatsServer):
    """A store node that knows of others only what it is told: where links to them begin."""

    def _config(self) -> str:
        return super()._config().replace("cluster { ", _UNTOLD)


class Nodes(NatsCluster):
    """The store nodes.

    Args:
        servers: them.
    """

    def __init__(self, servers: Sequence[Node]) -> None:
        self.servers = tuple(servers)


class World:
    """What runs. Made by `running`.

    Attributes:
        links: `route/n1>n2` of node to node, `store/m1>n2` of member to node, `peer/>m2` of the other members to one,
            `client/>m2` of clients to one.
        nodes: of the store.
        members: of the kernel.
        addresses: of the members, as clients reach them.
    """

    def __init__(self, links: Links, nodes: Nodes, members: Sequence[MemberProcess], addresses: Sequence[str]) -> None:
        self.links = links
        self.nodes = nodes
        self.members = tuple(members)
        self.addresses = tuple(addresses)

    def between(self, kind: str, *names: str) -> list[str]:
        """Returns the links of a kind that begin or end at any of some places."""
        prefix = f"{kind}/"
        links = [link for link in self.links.names if link.startswith(prefix)]
        return [link for link in links if set(link.removeprefix(prefix).split(">")) & set(names)]

    def node(self, name: str) -> NatsServer:
        """Returns a store node."""
        return next(server for server in self.nodes.servers if server.name == name)

    async def store_leader(self) -> str:
        """Returns the name of the node that leads the store's state; empty while there is none."""
        leader = await self.nodes.stream_leader(STATE_STREAM)
        return leader.name if leader is not None else ""

    async def heal(self) -> None:
        """Undoes all that may have been done, and returns when every process serves again."""
        await self.links.mend(self.links.names)
        for server in self.nodes.servers:
            server.resume()
            await server.start()
        for member in self.members:
            member.resume()
            await member.start()
        await self.nodes.ready()
        try:
            async with asyncio.timeout(START_SECONDS):
                await asyncio.gather(*(member.ready() for member in self.members))
        except TimeoutError:
            told = "\n".join(f"{member.name}, {member.starts} starts:\n{member.tail()}" for member in self.members)
            raise AssertionError(f"the members do not serve within {START_SECONDS} s:\n{told}") from None


@asynccontextmanager
async def running(folder: Path, ended: Callable[[str], None], *, members: int = MEMBERS) -> AsyncIterator[World]:
    """Has a world for the length of the block.

    Args:
        folder: for all that it writes.
        ended: told of members that end without being asked to.
        members: how many.
    """
    async with AsyncExitStack() as stack:
        links = await stack.enter_async_context(network())
        nodes = Nodes(await _nodes(links, folder))
        stack.push_async_callback(nodes.stop)
        await nodes.start()
        ports = free_ports(members)
        processes = [await _member(links, nodes, folder, number, port, ended) for number, port in enumerate(ports, 1)]
        for process in processes:
            stack.push_async_callback(process.close)
        addresses = [f"127.0.0.1:{await links.open(f'client/>{process.name}', process.port)}" for process in processes]
        world = World(links, nodes, processes, addresses)
        await world.heal()
        yield world


async def _nodes(links: Links, folder: Path) -> list[Node]:
    numbers = free_ports(2 * NODES)
    ports = [NatsPorts(numbers[2 * n], numbers[2 * n + 1]) for n in range(NODES)]
    nodes = []
    for here in range(NODES):
        name = f"n{here + 1}"
        routes = [
            NatsPorts(0, await links.open(f"route/{name}>n{there + 1}", ports[there].route))
            for there in range(NODES)
            if there != here
        ]
        nodes.append(Node(name, folder / name, ports[here], routes))
    return nodes


async def _member(
    links: Links, nodes: Nodes, folder: Path, number: int, port: int, ended: Callable[[str], None]
) -> MemberProcess:
    name = f"m{number}"
    stores = [await links.open(f"store/{name}>{node.name}", node.ports.client) for node in nodes.servers]
    peer = await links.open(f"peer/>{name}", port)
    environment = {
        "SIRA_IDENTITY_ENABLED": "false",
        "SIRA_SERVER_ADDRESSES": f"127.0.0.1:{port}",
        "SIRA_CLUSTER_ADVERTISE_ADDRESSES": f"127.0.0.1:{peer}",
        "SIRA_STORE_URL": ",".join(f"nats://127.0.0.1:{store}" for store in stores),
        "SIRA_STORE_DATA_DIR": str(folder / name),
        # All that dies at once here is dead, though it is most of its service.
        "SIRA_REGISTRY_SELF_PRESERVATION_SHARE": "1",
        "SIRA_LOG_LEVEL": os.environ.get("SIRA_FAULTS_LOG", "warning"),
    }
    return MemberProcess(name, port, folder, environment, ended)
