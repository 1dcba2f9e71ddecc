"""The control plane of the bus on the real store, with neighbours that answer what a test tells them to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from sira.bus.v1.subscription_pb2 import StartPosition, Subscription
from sira.bus.v1.topic_pb2 import Topic

from sira_grpc.background import Background
from sira_grpc.bus import names
from sira_grpc.bus.janitor import Janitor
from sira_grpc.bus.subscriptions import Subscriptions
from sira_grpc.bus.tenure import elsewhere
from sira_grpc.bus.topics import Topics
from sira_grpc.bus.view import BusView, SubscriptionEntry, TopicEntry
from sira_grpc.commits import Commits
from sira_grpc.config import BusConfig
from sira_grpc.errors import NamespaceNotFound
from sira_grpc.store import open_sqlite
from sira_grpc.store.sqlite import SqliteStore
from tests.clocks import FakeClock

DEFAULT = "namespaces/default"
OTHER = "namespaces/other"


class Neighbours:
    """What topics hold, where positions are, which namespaces there are, and who still writes: as told.

    Attributes:
        others: namespaces that another member serves.
        held: records by topic.
        dead: dead letters by subscription.
        offset_of_position: what every position stands for in partition 0; in the others it is as much more.
        positions: what was asked for: topic, partition and kind of position.
        failing: errors by topic, instead of an offset.
        released_uids: who was asked to be released.
        asked: runs before the next answer: what happens meanwhile.
    """

    def __init__(self) -> None:
        self.namespaces = {DEFAULT, OTHER}
        self.others: set[str] = set()
        self.held: dict[str, int] = {}
        self.dead: dict[str, int] = {}
        self.offset_of_position = 100
        self.positions: list[tuple[str, int, str]] = []
        self.failing: dict[str, Exception] = {}
        self.released_uids: list[str] = []
        self.asked: Callable[[], Awaitable[None]] | None = None

    def namespace(self, name: str) -> str:
        if name not in self.namespaces:
            raise NamespaceNotFound(f"{name} is not there", metadata={"resource": name})
        return name

    def keeping(self, name: str) -> AbstractContextManager[None]:
        self.namespace(name)
        return nullcontext()

    def check_owner(self, name: str) -> None:
        if names.namespace_in(name) in self.others:
            raise elsewhere(name, "another member serves it")

    async def records(self, topic: TopicEntry) -> int:
        await self._meanwhile()
        return self.held.get(topic.name, 0)

    async def dead_letters(self, subscription: SubscriptionEntry) -> int:
        await self._meanwhile()
        return self.dead.get(subscription.name, 0)

    async def offset(self, topic: TopicEntry, partition: int, position: StartPosition) -> int:
        await self._meanwhile()
        if topic.name in self.failing:
            raise self.failing[topic.name]
        self.positions.append((topic.name, partition, position.WhichOneof("position") or ""))
        return self.offset_of_position + partition

    async def released(self, uid: str) -> None:
        await self._meanwhile()
        self.released_uids.append(uid)

    async def _meanwhile(self) -> None:
        asked, self.asked = self.asked, None
        if asked is not None:
            await asked()


class ControlWorld:
    """Topics, subscriptions and the janitor over one store. restart() goes on from it, as a kernel does."""

    def __init__(self, path: Path, clock: FakeClock, config: BusConfig) -> None:
        self.path = path
        self.clock = clock
        self.config = config
        self.neighbours = Neighbours()
        self.store: SqliteStore
        self.view: BusView
        self.commits: Commits
        self.topics: Topics
        self.subscriptions: Subscriptions
        self.janitor: Janitor
        self.background: Background
        self._random_bytes = random.Random(1).randbytes

    async def start(self) -> None:
        self.store = await open_sqlite(self.path, clock=self.clock)
        self.view = BusView()
        self.commits = Commits(self.store, self.view)
        told, time, random_bytes = self.neighbours, self.clock, self._random_bytes
        self.topics = Topics(self.view, self.commits, told, told, self.config, time, random_bytes)
        self.subscriptions = Subscriptions(self.view, self.commits, told, told, told, self.config, time, random_bytes)
        self.janitor = Janitor(self.view, self.commits, self.store, told, self._owned)
        snapshot = await self.store.snapshot("bus/")
        self.view.load(snapshot)
        self.background = Background()
        self.background.own(self._follow(snapshot.revision), "bus view")

    def _owned(self, namespace: str) -> bool:
        return namespace not in self.neighbours.others

    async def _follow(self, revision: int) -> None:
        try:
            async for commit in self.store.watch("", after=revision):
                self.view.apply(commit)
        finally:
            self.view.close()

    async def stop(self) -> None:
        await self.commits.close()
        await self.background.cancel()
        await self.store.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def topic(self, short: str = "orders", *, namespace: str = DEFAULT, partitions: int = 0) -> TopicEntry:
        created = await self.topics.create(topic(short, namespace=namespace, partitions=partitions))
        return self.view.topic(created.name)

    async def subscription(self, short: str = "billing", *patterns: str) -> SubscriptionEntry:
        created = await self.subscriptions.create(subscription(short, *patterns))
        return self.view.subscription(created.name)

    def trash(self) -> set[str]:
        """The logs that are noted as trash."""
        return {log for trash in self.view.trash.values() for log in trash.logs}

    async def trash_gone(self, revision: int) -> None:
        """Returns when a note of trash was deleted after a revision."""
        async with asyncio.timeout(30):
            async for commit in self.store.watch("bus/trash/", after=revision):
                if any(change.value is None for change in commit.changes):
                    return


def topic(short: str = "orders", *, namespace: str = DEFAULT, partitions: int = 0) -> Topic:
    return Topic(name=f"{namespace}/topics/{short}", partitions=partitions)


def subscription(short: str = "billing", *patterns: str) -> Subscription:
    return Subscription(name=f"{DEFAULT}/subscriptions/{short}", topics=patterns or ["orders"])
