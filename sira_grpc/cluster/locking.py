"""Locks, semaphores and elections as a whole: puts the parts together, starts them and stops them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from sira_grpc.background import Background
from sira_grpc.clock import Clock
from sira_grpc.cluster.claim_contact import StoreContact
from sira_grpc.cluster.claim_expiry import ClaimExpiry
from sira_grpc.cluster.claim_keeper import ClaimKeeper
from sira_grpc.cluster.claim_session import Parts
from sira_grpc.cluster.claim_table import ClaimTable
from sira_grpc.cluster.claim_time import ClaimTime
from sira_grpc.cluster.claim_writer import ClaimWriter
from sira_grpc.cluster.elections import Elections
from sira_grpc.cluster.fencing_guards import Fences
from sira_grpc.cluster.lock_room import Limits, LockRoom, Namespaces
from sira_grpc.cluster.lock_tenant import LockTenant
from sira_grpc.cluster.lock_view import LockView
from sira_grpc.cluster.locks import Locks
from sira_grpc.commits import Commits
from sira_grpc.following import follow
from sira_grpc.placement import Placement
from sira_grpc.store.api import Store


class Locking:
    """Locks and elections, each with its own commands, and the tasks that run behind them.

    Args:
        store: where they are.
        namespaces: says which there are.
        placement: which members are live, and who looks after the claims of those that are gone.
        clock, rng, random_bytes: time and randomness; random_bytes must be unpredictable.
        limits: what may be at once; None for the usual.

    Attributes:
        locks, elections: the commands.
        fences: makes guards of fencing tokens.
        tenant: what is in a namespace.
        failed: a task has ended that must not.
    """

    def __init__(
        self,
        store: Store,
        namespaces: Namespaces,
        placement: Placement,
        *,
        clock: Clock,
        rng: random.Random,
        random_bytes: Callable[[int], bytes],
        limits: Limits | None = None,
    ) -> None:
        self._store = store
        self._placement = placement
        self._background = Background()
        self._following: asyncio.Task[None] | None = None
        self.view = view = LockView()
        self._commits = Commits(store, view)
        time = ClaimTime(clock)
        self._table = table = ClaimTable(view, placement, time)
        contact = StoreContact(store, view, clock)
        room = LockRoom(view, namespaces, limits or Limits())
        writer = ClaimWriter(view, self._commits, contact, clock, rng)
        keeper = ClaimKeeper(view, self._commits, writer, table, contact, room, clock, random_bytes)
        parts = Parts(view, table, keeper, contact, room)
        self._keeper = keeper
        self.locks = Locks(parts)
        self.elections = Elections(parts)
        self.fences = Fences(view, store)
        self.tenant = LockTenant(view, keeper)
        self.expiry = ClaimExpiry(store, table, keeper, time)

    @property
    def failed(self) -> asyncio.Event:
        """A task has ended that must not."""
        return self._background.failed

    @property
    def expired(self) -> int:
        """Claims that this member has ended since it started because they had run out."""
        return self._keeper.expired

    async def start(self) -> None:
        """Fills the view and follows the store. What was held before has one TTL to come back."""
        snapshot = await self._store.snapshot("")
        self.view.load(snapshot)
        self._placement.changed.append(self._table.place)
        following = follow(self._store, self.view, after=snapshot.revision)
        self._following = self._background.own(following, "locks view")
        self._background.own(self.expiry.run(), "locks expiry")

    async def close(self) -> None:
        """Finishes what is under way and stops the tasks. Claims stay: their holders attach to them elsewhere."""
        self._placement.changed.remove(self._table.place)
        await self._background.cancel(but=self._following)  # it feeds the view, which the commands wait for
        await self._commits.close()
        await self._background.cancel()
