"""Shares leases and health checks out anew when members come and go."""

from __future__ import annotations

import asyncio

from sira_grpc.placement import Placement
from sira_grpc.registry.health_writer import HealthWriter
from sira_grpc.registry.leases import LeaseTable
from sira_grpc.registry.view import RegistryView

SETTLED_AT_ONCE = 500
"""Leases or endpoints that are looked at without a pause, some 5 ms."""


class Resharding:
    """The one task that follows the placement.

    Until it has come to a lease or an endpoint, that stays as it was: a lease that nobody has does not expire.
    """

    def __init__(self, view: RegistryView, leases: LeaseTable, health: HealthWriter, placement: Placement) -> None:
        self._view = view
        self._leases = leases
        self._health = health
        self._placement = placement
        self._changed = asyncio.Event()

    def begin(self) -> None:
        """Listens to the placement from here on, until close()."""
        self._placement.changed.append(self._changed.set)

    def close(self) -> None:
        """Listens no more. Of no effect before begin()."""
        if self._changed.set in self._placement.changed:
            self._placement.changed.remove(self._changed.set)

    async def run(self) -> None:
        """Settles whenever the set of live members has changed; cancelled by its owner."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.settle()

    async def settle(self) -> None:
        """Takes what is up to this member now, and gives up what is not."""
        for i, lease in enumerate(tuple(self._view.leases.values())):
            if i % SETTLED_AT_ONCE == SETTLED_AT_ONCE - 1:
                await asyncio.sleep(0)
            if self._view.leases.get(lease.id) is lease:
                self._leases.settle(lease)
        for i, endpoint in enumerate(tuple(self._view.endpoints())):
            if i % SETTLED_AT_ONCE == SETTLED_AT_ONCE - 1:
                await asyncio.sleep(0)
            if self._view.find_endpoint(endpoint.message.name) is endpoint:
                self._health.reassign(endpoint)
