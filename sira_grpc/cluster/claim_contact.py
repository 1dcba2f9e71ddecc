"""Whether the view is as the store is: what a holder is told must not come from a view that has fallen behind."""

from __future__ import annotations

import asyncio

from sira_grpc.clock import Clock
from sira_grpc.cluster.lock_view import LockView
from sira_grpc.errors import StoreUnavailable
from sira_grpc.store.api import Store

FRESH_SECONDS = 0.5
"""How old what is known may be when a holder is told that it still has what it had.

A claim that is moved to another member is kept for so much longer there than its TTL. So a member that was stopped or
cut off from the store, or is taken for dead and is not, tells no holder `alive` for longer than the claim is kept."""
ATTEMPTS = 3


class StoreContact:
    """Asks the store for its revision, and waits for the view, where what is known may be too old."""

    def __init__(self, store: Store, view: LockView, clock: Clock) -> None:
        self._store = store
        self._view = view
        self._clock = clock
        self._since = float("-inf")
        self._asking = asyncio.Lock()

    async def confirm(self) -> None:
        """Returns once the view shows everything that had been committed, by whichever member, before the call.

        Raises:
            StoreUnavailable: that cannot be told.
        """
        await self._view.caught_up(await self._store.sync())

    async def fresh(self) -> None:
        """Returns once what the view shows is at most FRESH_SECONDS old. Many who ask are one who asks.

        Raises:
            StoreUnavailable: that cannot be told.
        """
        for _ in range(ATTEMPTS):
            if self._is_fresh():
                return
            async with self._asking:
                if not self._is_fresh():
                    asked = self._clock.monotonic()
                    await self.confirm()
                    self.heard(asked)
        if not self._is_fresh():
            raise StoreUnavailable("the store answers too slowly to tell what is held", retry_after=0.5)

    def _is_fresh(self) -> bool:
        return self._clock.monotonic() - self._since <= FRESH_SECONDS

    def heard(self, asked: float) -> None:
        """Notes that the view shows a commit of ours that was begun at a time of the monotonic clock."""
        self._since = max(self._since, asked)
