"""The locks and elections of a namespace, for when that is to be deleted."""

from __future__ import annotations

from sira_grpc.cluster import lock_names
from sira_grpc.cluster.claim_keeper import ClaimKeeper
from sira_grpc.cluster.lock_view import LockView


class LockTenant:
    """What somebody has, or waits for, in a namespace."""

    def __init__(self, view: LockView, keeper: ClaimKeeper) -> None:
        self._view = view
        self._keeper = keeper

    def holds(self, namespace: str) -> str:
        """Says how many there are; empty if none."""
        keys = self._view.held_in(namespace)
        locks = sum(key.startswith(lock_names.LOCKS) for key in keys)
        return f"{locks} locks and {len(keys) - locks} elections" if keys else ""

    async def clear(self, namespace: str) -> None:
        """Ends them: whoever has one, or waits, has lost it."""
        for key in tuple(self._view.held_in(namespace)):
            await self._keeper.clear(key)
