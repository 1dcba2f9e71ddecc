"""The subscriptions at work, each opened when it is first needed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Sequence

from sira_grpc.bus import names
from sira_grpc.bus.active_subscription import ActiveSubscription
from sira_grpc.bus.dead_letters import DeadLetters
from sira_grpc.bus.metrics import BusMetrics
from sira_grpc.bus.partitions import Partitions
from sira_grpc.bus.tenure import FencedLogs, Tenure, Tenures
from sira_grpc.bus.view import BusView, SubscriptionEntry, TopicEntry
from sira_grpc.clock import Clock
from sira_grpc.errors import NotOwner, SiraError, SubscriptionNotFound
from sira_grpc.store.api import LogStore

SOURCES_AT_ONCE = 32
"""Partitions that are opened for subscriptions: each takes a few requests to the store."""


class ActiveSubscriptions:
    """Opens, keeps and closes them.

    Args:
        store: where their dead letters are.
        view, partitions: what they read.
        clock, rng: see Source.
        metrics: counts.
        tenure: see Tenures.

    Attributes:
        failed: the task of one of them has ended, which must not be.
    """

    def __init__(
        self,
        store: LogStore,
        view: BusView,
        partitions: Partitions,
        clock: Clock,
        rng: random.Random,
        metrics: BusMetrics,
        tenure: Tenures,
    ) -> None:
        self.failed = asyncio.Event()
        self._tenure = tenure
        self._turns = asyncio.Semaphore(SOURCES_AT_ONCE)
        self._store = store
        self._view = view
        self._partitions = partitions
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._tasks: dict[str, asyncio.Task[ActiveSubscription]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        hooks = view.hooks
        hooks.subscription_written.append(self._written)
        hooks.subscription_gone.append(self._gone)
        hooks.topic_written.append(self._topics_changed)
        hooks.topic_gone.append(self._topics_changed)

    def opened(self) -> Sequence[ActiveSubscription]:
        """Returns those that are open."""
        done = [task for task in tuple(self._tasks.values()) if task.done() and not task.cancelled()]
        return [task.result() for task in done if task.exception() is None]

    async def get(self, entry: SubscriptionEntry) -> ActiveSubscription:
        """Returns a subscription, open.

        Raises:
            SubscriptionNotFound: it was deleted.
            NotOwner: another member serves its namespace.
            StoreUnavailable, StoreCorrupt: it cannot be opened.
        """
        task = self._tasks.get(entry.uid)
        if task is None:
            # What opens it has a tenure, and waits for none: the end of a tenure waits for it.
            tenure = await self._tenure(names.namespace_of(entry.name))
            tenure.check_begin()
            task = self._tasks.get(entry.uid) or self._begin(tenure, entry)
        return await asyncio.shield(task)

    def _begin(self, tenure: Tenure, entry: SubscriptionEntry) -> asyncio.Task[ActiveSubscription]:
        work = self._open(tenure, entry)
        task = self._tasks[entry.uid] = asyncio.create_task(work, name=f"bus open {entry.name}")
        task.add_done_callback(lambda done: self._opened(entry.uid, done))
        return task

    async def _open(self, tenure: Tenure, entry: SubscriptionEntry) -> ActiveSubscription:
        dead_letters = DeadLetters(FencedLogs(self._store, tenure), entry.uid, entry.name)
        active = ActiveSubscription(
            entry, self._view, self._partitions, dead_letters, self._clock, self._rng, self._metrics, self._turns
        )
        await active.open(self.failed.set, fence=tenure.shared)
        if self._view.subscriptions_by_uid.get(entry.uid) is not entry:
            await active.close()
            raise _deleted(entry)
        if tenure.left.is_set():
            await active.close()
            tenure.check_begin()
        return active

    def _opened(self, uid: str, task: asyncio.Task[ActiveSubscription]) -> None:
        if (task.cancelled() or task.exception() is not None) and self._tasks.get(uid) is task:
            del self._tasks[uid]  # the next one who asks tries again

    def _written(self, entry: SubscriptionEntry) -> None:
        for active in self.opened():
            if active.entry is entry:
                active.changed()

    def _gone(self, entry: SubscriptionEntry) -> None:
        task = self._tasks.pop(entry.uid, None)
        if task is not None:
            self._end(task, _deleted(entry))

    def _end(self, task: asyncio.Task[ActiveSubscription], error: SiraError) -> asyncio.Task[None]:
        """Ends the streams of a subscription at once, and closes it."""
        if task.done() and not task.cancelled() and task.exception() is None:
            task.result().end(error)
        closing = asyncio.create_task(self._close(task, error), name=f"bus close {task.get_name()}")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        return closing

    @staticmethod
    async def _close(task: asyncio.Task[ActiveSubscription], error: SiraError) -> None:
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(outcome, ActiveSubscription):
            outcome.end(error)
            await outcome.close(error)

    def let_go(self, namespace: str, error: NotOwner, *, orderly: bool) -> Awaitable[None]:
        """See Served. What is settled and cannot be written any more was not confirmed."""
        within = self._view.subscriptions_in(namespace).values()
        tasks = [task for entry in within if (task := self._tasks.pop(entry.uid, None)) is not None]
        return _all_of([self._end(task, error) for task in tasks])

    def _topics_changed(self, topic: TopicEntry) -> None:
        short, namespace = names.short(topic.name), names.namespace_of(topic.name)
        for active in self.opened():
            if names.namespace_of(active.entry.name) == namespace and active.entry.settings.reads(short):
                active.topics_changed()

    async def released(self, uid: str) -> None:
        """Returns once nothing is written any more to the logs of a subscription or topic that is gone."""
        for task in tuple(self._tasks.values()):
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(outcome, ActiveSubscription):
                await outcome.release(uid)
        # One that was deleted meanwhile, or shortly before, may still have settled something in a topic that is gone.
        await asyncio.gather(*self._closing, return_exceptions=True)


def _deleted(entry: SubscriptionEntry) -> SubscriptionNotFound:
    return SubscriptionNotFound(f"{entry.name} was deleted", metadata={"resource": entry.name})


async def _all_of(tasks: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
