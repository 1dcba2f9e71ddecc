"""The bus as a whole: puts its parts together, starts them and stops them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from opentelemetry.metrics import Meter
from sira.bus.v1.subscription_pb2 import StartPosition, SubscriptionStatus
from sira.bus.v1.topic_pb2 import TopicStatus

from sira_grpc.background import Background
from sira_grpc.bus import names
from sira_grpc.bus.active_subscriptions import ActiveSubscriptions
from sira_grpc.bus.contents import Contents
from sira_grpc.bus.dead_letters import DeadLetters
from sira_grpc.bus.incoming import Incoming, Published
from sira_grpc.bus.janitor import Janitor
from sira_grpc.bus.metrics import BusMetrics
from sira_grpc.bus.namespaces import Namespaces
from sira_grpc.bus.ownership import Ownership, OwnNamespaces
from sira_grpc.bus.partition import Partition
from sira_grpc.bus.partitions import Partitions
from sira_grpc.bus.publishing import Publishing
from sira_grpc.bus.quotas import Quotas
from sira_grpc.bus.redriving import Redriving
from sira_grpc.bus.subscribing import Subscribing
from sira_grpc.bus.subscriptions import Subscriptions
from sira_grpc.bus.tenant import BusTenant
from sira_grpc.bus.topics import Topics
from sira_grpc.bus.upkeep import Upkeep
from sira_grpc.bus.verifying import Verifying
from sira_grpc.bus.view import BusView, SubscriptionEntry, TopicEntry
from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.config import BusConfig
from sira_grpc.errors import NotOwner, StoreUnavailable
from sira_grpc.following import follow
from sira_grpc.placement import Alone, Placement
from sira_grpc.store.api import Store

SWEEP = "sweep/bus"
"""The unit of work that is the deletion of logs of which it is not known in which namespace they were."""


class RemotePublish(Protocol):
    """Publishes at the member that serves a topic: dead letters may be redriven to a topic of another namespace."""

    async def publish(self, topic: str, partition: int, incoming: Incoming) -> Published:
        """Stores a frame in a partition of a topic, by its name.

        How often its records were redriven is not said there.

        Raises: as publishing does.
        """


CaughtUp = Callable[[int], Awaitable[None]]


class _Both:
    """The view of the bus and the namespaces that there are, which follow the store each on its own."""

    def __init__(self, view: BusView, namespaces_caught_up: CaughtUp) -> None:
        self._view = view
        self._namespaces_caught_up = namespaces_caught_up

    @property
    def revision(self) -> int:
        return self._view.revision

    async def caught_up(self, revision: int) -> None:
        await self._view.caught_up(revision)
        await self._namespaces_caught_up(revision)


class Bus:
    """The parts of the bus, each with its own commands, and the tasks that run behind them.

    Args:
        store: where everything durable is.
        namespaces: says which there are.
        config: see BusConfig.
        clock, rng, random_bytes: time and randomness.
        meter: makes its counters.
        placement: says which namespaces are to be served by this member; without one, all are.

    Attributes:
        remote: publishes to topics that others serve. To be set before start(), where there are others.
        namespaces_caught_up: returns once `namespaces` shows everything up to a revision. Likewise.
    """

    def __init__(
        self,
        store: Store,
        namespaces: Namespaces,
        config: BusConfig,
        *,
        clock: Clock,
        rng: random.Random,
        random_bytes: Callable[[int], bytes],
        meter: Meter,
        placement: Placement | None = None,
    ) -> None:
        self._store = store
        self._background = Background()
        self._following: asyncio.Task[None] | None = None
        self.view = view = BusView()
        self.remote: RemotePublish | None = None
        self.namespaces_caught_up: CaughtUp | None = None
        self.commits = Commits(store, _Both(view, self._namespaces_caught_up))
        metrics = BusMetrics(meter)
        placement = placement or Alone()
        self._placement = placement
        self.ownership = ownership = Ownership(store, view, placement, rng)
        tenure, check, own = ownership.tenure, ownership.check, OwnNamespaces(namespaces, ownership)
        self.partitions = Partitions(store, view, config, clock, metrics, tenure)
        self.active = ActiveSubscriptions(store, view, self.partitions, clock, rng, metrics, tenure)
        self.contents = Contents(self.partitions, self.active)
        self.topics = Topics(view, self.commits, own, self.contents, config, clock, random_bytes)
        self.subscriptions = Subscriptions(
            view, self.commits, own, self.contents, self.contents, config, clock, random_bytes
        )
        self.tenant = BusTenant(view, self.topics, self.subscriptions)
        self.publishing = Publishing(
            check,
            view,
            self.partitions,
            self.commits,
            Quotas(config, clock),
            clock,
            max_in_flight_bytes=config.max_in_flight_bytes,
        )
        self.subscribing = Subscribing(
            namespaces, view, self.partitions, self.active, self.commits, clock, metrics, tenure
        )
        self.redriving = Redriving(view, self._publish)
        self.verifying = Verifying(self.topic, self._partitions_of)
        self._janitor = Janitor(view, self.commits, store, self.contents, self._sweeps)
        self._upkeep = Upkeep(self.partitions.opened, store, clock)
        ownership.served += [self.subscribing, self.active, self.partitions]
        ownership.opening, ownership.forget = self._open_all_of, self.partitions.forget
        placement.changed.append(self._janitor.wake)

    async def start(self) -> None:
        """Fills the view, follows the store, and opens what there is in the namespaces of this member."""
        snapshot = await self._store.snapshot(names.PREFIX)
        self.view.load(snapshot)
        following = follow(self._store, self.view, after=snapshot.revision)
        self._following = self._background.own(following, "bus view")
        self._background.own(self._janitor.run(), "bus janitor")
        self._background.own(self._upkeep.run(), "bus upkeep")
        self._background.own(self.ownership.run(), "bus ownership")

    async def _open_all_of(self, namespace: str) -> None:
        """Opens all that there is in a namespace.

        Raises:
            NotOwner, StoreUnavailable: some of it cannot be opened now. Of what is damaged, whoever asks is told.
        """
        topics, subscriptions = self.view.topics_in(namespace), self.view.subscriptions_in(namespace)
        topics_opened = asyncio.gather(
            *(self.partitions.all_of(topic) for topic in tuple(topics.values())), return_exceptions=True
        )
        _check(await topics_opened)
        opened = asyncio.gather(
            *(self.active.get(entry) for entry in tuple(subscriptions.values())), return_exceptions=True
        )
        _check(await opened)

    async def _namespaces_caught_up(self, revision: int) -> None:
        if self.namespaces_caught_up is not None:
            await self.namespaces_caught_up(revision)

    def _sweeps(self, namespace: str) -> bool:
        """Whether it is this member that deletes the logs of what is gone in a namespace."""
        return self.ownership.owned(namespace) if namespace else self._placement.owns(SWEEP)

    @property
    def owned_namespaces(self) -> Sequence[str]:
        """The namespaces that this member serves now."""
        return self.ownership.namespaces

    @property
    def failures(self) -> Sequence[asyncio.Event]:
        """A task has ended that must not."""
        return self._background.failed, self.active.failed

    async def topic(self, name: str) -> TopicEntry:
        """Returns a topic, one that was just created at another member too. Raises: TopicNotFound, StoreUnavailable."""
        return await self.commits.sure(lambda: self.view.topic(name))

    async def subscription(self, name: str) -> SubscriptionEntry:
        """Returns a subscription, likewise. Raises: SubscriptionNotFound, StoreUnavailable."""
        return await self.commits.sure(lambda: self.view.subscription(name))

    async def topic_status(self, topic: TopicEntry) -> TopicStatus:
        """Returns what a topic holds."""
        return await self.contents.topic_status(topic)

    async def subscription_status(self, subscription: SubscriptionEntry) -> SubscriptionStatus:
        """Returns how far a subscription has come."""
        return await self.contents.subscription_status(subscription)

    async def seek(self, name: str, position: StartPosition) -> SubscriptionStatus:
        """Moves a subscription. Raises: SubscriptionNotFound, InvalidField, NotOwner, StoreUnavailable."""
        self.ownership.check(name)
        active = await self.active.get(await self.subscription(name))
        await self.commits.run(active.seek(position))
        return active.status()

    async def dead_letters_of(self, subscription: SubscriptionEntry) -> DeadLetters:
        """Returns the dead letters of a subscription."""
        return (await self.active.get(subscription)).dead_letters

    async def _publish(self, topic: str, partition: int | None, incoming: Incoming) -> Published:
        entry = await self.topic(topic)
        number = self.publishing.next_partition(entry) if partition is None else partition
        if self.remote is not None and not self.ownership.owned(names.namespace_of(topic)):
            return await self.remote.publish(topic, number, incoming)
        place = await self.partitions.get(entry, number, patient=False)
        return await place.appender.publish(incoming)

    async def _partitions_of(self, topic: TopicEntry) -> Sequence[Partition]:
        return [opened.partition for opened in await self.partitions.all_of(topic)]

    def stopping(self) -> None:
        """From here on, a stream that ends makes no delivery count as in vain: it is the kernel that goes away."""
        self.subscribing.stopping = True

    async def close(self) -> None:
        """Finishes what is under way and stops the tasks. What was acknowledged is durable."""
        self.stopping()
        await self.redriving.close()
        await self._background.cancel(but=self._following)  # it feeds the view, which the commands wait for
        await self.commits.close()
        await self.ownership.close()
        await self._background.cancel()


def _check(outcomes: Sequence[object]) -> None:
    """Raises the first of the errors that may be gone the next time."""
    for outcome in outcomes:
        if isinstance(outcome, NotOwner | StoreUnavailable):
            raise outcome
