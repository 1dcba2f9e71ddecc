"""Which namespaces this member serves, and how they come to it and leave it: one member serves one at a time.

Placement says whose a namespace should be; an entry in the store's state, `bus/owners/<namespace>`, says whose it is.
The owner lets go of it when placement gives it to another member: it ends its streams, finishes what is under way, and
deletes the entry. The other one waits for that, for a while, and not at all if the owner is dead; then it takes the
entry by compare-and-set, opens what there is and serves it. That nothing is lost or done twice if two believe that it
is theirs is up to the fences of their tenures: this is what makes it rare.

A store that is not shared has no such entries: all is this member's.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from sira_grpc import fencing
from sira_grpc.bus import names
from sira_grpc.bus.namespaces import Namespaces
from sira_grpc.bus.tenure import Tenure, elsewhere, not_begun
from sira_grpc.bus.view import BusView, SubscriptionEntry, TopicEntry
from sira_grpc.errors import Conflict, NotOwner, SiraError
from sira_grpc.placement import Placement
from sira_grpc.store.api import ABSENT, Check, Delete, Put, Store

HANDOVER_SECONDS = 3.0
"""How long a live owner is waited for that is to let go of a namespace. Then it is taken from it."""
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
"""Seconds before a namespace is opened again that could not be kept, or opened: doubled each time."""
STEADY_SECONDS = 10.0
"""After a tenure as long as this, the pauses begin anew."""

log = logging.getLogger(__name__)


class Served(Protocol):
    """A part of the bus that has something open for each namespace."""

    def let_go(self, namespace: str, error: NotOwner, *, orderly: bool) -> Awaitable[None]:
        """Stops at once to serve a namespace; what it returns finishes what is under way.

        Args:
            namespace: its name.
            error: what its streams end with.
            orderly: there is time to leave everything so that it opens at once. Otherwise nothing can be written.
        """


class Ownership:
    """Takes namespaces and lets go of them.

    Args:
        store: where it is said whose they are.
        view: says which there are, and whose.
        placement: says whose they should be.
        rng: spreads the pauses.

    Attributes:
        served: what has to let go, in this order.
        opening: opens all that there is in a namespace.
        forget: called when what is in memory of a namespace is of no use any more.
    """

    def __init__(self, store: Store, view: BusView, placement: Placement, rng: random.Random) -> None:
        self.served: list[Served] = []
        self.opening: Callable[[str], Awaitable[None]]
        self.forget: Callable[[str], Awaitable[None]]
        self._store = store
        self._view = view
        self._placement = placement
        self._rng = rng
        self._tenures: dict[str, Tenure] = {}
        self._beginning: dict[str, asyncio.Task[Tenure]] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._keeping: dict[str, asyncio.Task[None]] = {}
        # Revision of the entry when a namespace was this member's last: if it is another, somebody was in between.
        self._last: dict[str, int] = {}
        # How often in a row a namespace could not be kept, and when it was taken last.
        self._failures: dict[str, int] = {}
        self._taken: dict[str, float] = {}
        self._closed = False
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        placement.changed.append(self._placement_changed)
        view.hooks.owner_written.append(self._owner_written)
        view.hooks.topic_written.append(self._something_written)
        view.hooks.subscription_written.append(self._something_written)

    @property
    def namespaces(self) -> Sequence[str]:
        """The namespaces that it serves now."""
        return tuple(self._tenures)

    def owned(self, namespace: str) -> bool:
        """Whether a namespace should be served by this member."""
        return not self._closed and self._placement.owns(names.unit_of(namespace))

    def check(self, name: str) -> None:
        """Raises NotOwner if a namespace, or that of a topic or subscription, is not this member's: at the entry."""
        namespace = names.namespace_in(name)
        if not self.owned(namespace):
            raise not_begun(namespace, "another member serves it")

    async def tenure(self, namespace: str, *, patient: bool = True) -> Tenure:
        """See Tenures."""
        found = self._tenures.get(namespace)
        if found is not None:
            return found
        self.check(namespace)
        if not patient and namespace in self._ending:
            raise not_begun(namespace, "it is being handed over")
        task = self._beginning.get(namespace)
        if task is None:
            task = self._beginning[namespace] = _task(self._begin(namespace), f"bus take {namespace}")
            task.add_done_callback(partial(self._begun, namespace))
        return await asyncio.shield(task)

    def _begun(self, namespace: str, task: asyncio.Task[Tenure]) -> None:
        del self._beginning[namespace]
        if not task.cancelled():
            task.exception()  # it is for those who wait, if any still do

    async def _begin(self, namespace: str) -> Tenure:
        if (ending := self._ending.get(namespace)) is not None:
            await asyncio.wait([ending])
        if failures := self._failures.get(namespace, 0):
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16))
            await asyncio.sleep(pause * self._rng.uniform(0.5, 1.0))
        guard = await self._take(namespace) if self._store.shared else None
        revision = guard.expected if guard is not None else 0
        if self._last.setdefault(namespace, revision) != revision:
            await self.forget(namespace)
            self._last[namespace] = revision
        self._taken[namespace] = asyncio.get_running_loop().time()
        tenure = self._tenures[namespace] = Tenure(namespace, guard, self._ended)
        self._owner_written(namespace)
        self._placement_changed()
        tenure.check_begin()
        return tenure

    async def _take(self, namespace: str) -> Check:
        """Makes a namespace this member's, and returns what says so."""
        key, loop = names.owner_key(namespace), asyncio.get_running_loop()
        patience = loop.time() + HANDOVER_SECONDS
        while True:
            self.check(namespace)
            holder = self._view.owners.get(namespace)
            if holder is not None and holder.member == self._placement.member:
                return Check(key, holder.revision)
            left = patience - loop.time()
            if holder is not None and self._placement.is_live(holder.member) and left > 0:
                await self._change(left)
                continue
            put = Put(key, self._placement.member.encode(), holder.revision if holder is not None else ABSENT)
            try:
                await self._view.caught_up(await self._store.commit([put]))
            except Conflict:
                await self._view.caught_up(self._store.revision)

    async def _change(self, seconds: float) -> None:
        """Returns when an owner or the placement has changed, or after some time."""
        moved = self._moved
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await moved.wait()

    def _something_moved(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
        self._wake.set()

    def _something_written(self, entry: TopicEntry | SubscriptionEntry) -> None:
        if names.namespace_of(entry.name) not in self._keeping:
            self._wake.set()

    def _placement_changed(self) -> None:
        for namespace, tenure in tuple(self._tenures.items()):
            if not self.owned(namespace):
                self._let_go(tenure, "another member serves it now", orderly=True)
        self._something_moved()

    def _owner_written(self, namespace: str) -> None:
        tenure, owner = self._tenures.get(namespace), self._view.owners.get(namespace)
        guard = tenure.guard if tenure is not None else None
        if tenure is not None and guard is not None and (owner is None or owner.revision != guard.expected):
            tenure.end("another member has taken it over")
        self._something_moved()

    def _ended(self, tenure: Tenure, why: str) -> None:
        namespace = tenure.namespace
        if self._tenures.get(namespace) is not tenure:
            return  # it was let go of
        log.warning("%s: %s", namespace, why)
        steady = asyncio.get_running_loop().time() - self._taken[namespace] >= STEADY_SECONDS
        self._failures[namespace] = 1 if steady else self._failures.get(namespace, 0) + 1
        self._let_go(tenure, why, orderly=False)

    def _let_go(self, tenure: Tenure, why: str, *, orderly: bool) -> None:
        namespace = tenure.namespace
        del self._tenures[namespace]
        tenure.left.set()
        error = elsewhere(namespace, why)
        finishing = [part.let_go(namespace, error, orderly=orderly) for part in self.served]
        self._ending[namespace] = _task(
            self._finish(tenure, finishing, why, orderly=orderly), f"bus let go {namespace}"
        )

    async def _finish(self, tenure: Tenure, finishing: Sequence[Awaitable[None]], why: str, *, orderly: bool) -> None:
        namespace = tenure.namespace
        try:
            for each in finishing:
                await each
            tenure.end(why)
            if orderly or not self.owned(namespace):
                self._failures.pop(namespace, None)
                self._last.pop(namespace, None)
                await self.forget(namespace)
                await self._release(tenure)
        finally:
            del self._ending[namespace]
            self._something_moved()

    async def _release(self, tenure: Tenure) -> None:
        """Says that a namespace is nobody's. If that fails, whoever takes it waits for a while first."""
        if tenure.guard is None:
            return
        try:
            await self._store.commit([Delete(tenure.guard.key, tenure.guard.expected)])
        except SiraError as error:
            log.info("%s: it was let go of, but that could not be said: %s", tenure.namespace, error)

    async def run(self) -> None:
        """Keeps open what is this member's, for ever; cancelled by its owner, who then calls close()."""
        while True:
            self._wake.clear()
            for namespace in self._view.namespaces():
                if namespace not in self._keeping and self.owned(namespace):
                    task = self._keeping[namespace] = _task(self._keep(namespace), f"bus keep {namespace}")
                    task.add_done_callback(partial(self._kept, namespace))
            await self._wake.wait()

    def _kept(self, namespace: str, task: asyncio.Task[None]) -> None:
        del self._keeping[namespace]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("%s ended", task.get_name(), exc_info=error)
        self._wake.set()

    async def _keep(self, namespace: str) -> None:
        """Opens a namespace, and again whenever that is lost, until it is another member's.

        So records that are scheduled become due, old ones go, and lags are known, whether anybody asks or not.
        """
        failures = 0
        while self.owned(namespace) and namespace in self._view.namespaces():
            try:
                tenure = await self.tenure(namespace)
                await self.opening(namespace)
            except SiraError as error:
                failures += 1
                log.warning("%s: it is not open yet: %s", namespace, error)
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 16))
                await asyncio.sleep(pause * self._rng.uniform(0.5, 1.0))
                continue
            failures = 0
            await tenure.left.wait()

    async def close(self) -> None:
        """Lets go of all namespaces: what is under way is finished, and others may take them."""
        self._closed = True
        tasks = (*self._keeping.values(), *self._beginning.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for tenure in tuple(self._tenures.values()):
            self._let_go(tenure, "the kernel is stopping", orderly=True)
        await asyncio.gather(*self._ending.values(), return_exceptions=True)
        with suppress(ValueError):
            self._placement.changed.remove(self._placement_changed)


class OwnNamespaces:
    """Implements ServedNamespaces.

    Args:
        namespaces: those that there are.
        ownership: says which are this member's.
    """

    def __init__(self, namespaces: Namespaces, ownership: Ownership) -> None:
        self.namespace = namespaces.namespace
        self.keeping = namespaces.keeping
        self.check_owner = ownership.check


def _task(work: Any, name: str) -> asyncio.Task[Any]:
    """Starts a task that is no part of the call that happens to start it."""
    return asyncio.create_task(work, name=name, context=fencing.unfenced())
