"""Members on one real store, each with a link to it that can be cut, on time that stands still."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from sira_grpc.cluster.cluster import Cluster
from sira_grpc.config import ClusterConfig
from sira_grpc.errors import StoreUnavailable
from sira_grpc.store import Op, Store, open_sqlite
from tests.clocks import FakeClock

INTERVAL, TIMEOUT = 0.3, 1.2


class Link:
    """A store as one member reaches it: commits fail while it is cut, and wait while it is held up."""

    def __init__(self, store: Store, *, shared: bool) -> None:
        self._store = store
        self._open = asyncio.Event()
        self._open.set()
        self._held_up = asyncio.Event()
        self.shared = shared
        self.cut = False
        self.commits = 0

    def hold_up(self) -> None:
        self._held_up.clear()
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()

    async def held_up(self) -> None:
        """Returns when a commit is held up."""
        await self._held_up.wait()

    @property
    def writable(self) -> bool:
        return not self.cut and self._store.writable

    @property
    def revision(self) -> int:
        return self._store.revision

    async def commit(self, ops: Sequence[Op]) -> int:
        self.commits += 1
        if not self._open.is_set():
            self._held_up.set()
            await self._open.wait()
        if self.cut:
            raise StoreUnavailable("the link is cut", retry_after=1)
        return await self._store.commit(ops)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Node:
    """A member and its link."""

    def __init__(self, cluster: Cluster, link: Link) -> None:
        self.cluster = cluster
        self.link = link

    @property
    def id(self) -> str:
        return self.cluster.placement.member

    @property
    def live(self) -> set[str]:
        return set(self.cluster.placement.live)


async def never(seconds: float) -> None:
    """A pause that only cancellation ends: what is to happen, the test does."""
    await asyncio.Event().wait()


class World:
    """Makes members, and lets time pass."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.nodes: list[Node] = []

    async def start(self, member: str, *, shared: bool = True, announce: bool = True) -> Node:
        link = Link(self.store, shared=shared)
        cluster = Cluster(
            cast(Store, link),
            ClusterConfig(heartbeat_interval=INTERVAL, member_timeout=TIMEOUT),
            member=member,
            version="1",
            host=f"host-{member}",
            clock=self.clock,
            random_bytes=random.Random(member).randbytes,
            pause=never,
        )
        node = Node(cluster, link)
        self.nodes.append(node)
        await cluster.start()
        if announce:
            await cluster.announce([f"{member}.example:7400"])
        await self.settle()
        return node

    async def settle(self) -> None:
        """Returns when every view has everything."""
        for node in self.nodes:
            await node.cluster.view.caught_up(self.store.revision)

    async def beats(self, *nodes: Node, rounds: int = 1, seconds: float = INTERVAL) -> None:
        """Lets time pass, and the members beat, so many times."""
        for _ in range(rounds):
            self.clock.advance(seconds)
            for node in nodes:
                await node.cluster.membership.beat()
            await self.settle()

    async def stop(self, node: Node) -> None:
        self.nodes.remove(node)
        await node.cluster.leave()
        await node.cluster.close()

    async def kill(self, node: Node) -> None:
        """Ends a member without a word to the store."""
        self.nodes.remove(node)
        node.link.cut = True
        await node.cluster.close()


@asynccontextmanager
async def opened(path: Path, clock: FakeClock) -> AsyncIterator[World]:
    """A world on a store in a folder."""
    store = await open_sqlite(path, clock=clock)
    world = World(store, clock)
    try:
        yield world
    finally:
        for node in tuple(world.nodes):
            node.link.go_on()
            await world.stop(node)
        await store.close()
