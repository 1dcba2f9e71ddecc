"""Whether the store takes writes, as this member's heartbeats tell."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sira_grpc.clock import Clock
from sira_grpc.config import ClusterConfig
from sira_grpc.store.api import Store

log = logging.getLogger(__name__)


class StoreWatch:
    """Looks whether the store takes writes.

    A shared store is lost once no heartbeat has gone through for `store_timeout`, any store once a write has failed.
    It is found again with the next write that goes through.

    Attributes:
        changed: called on the event loop with whether the store is there, after that has changed; must not block.
    """

    def __init__(self, store: Store, config: ClusterConfig, clock: Clock) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._beaten_at = clock.monotonic()
        self._lost_at_ns: int | None = None
        self.changed: list[Callable[[bool], None]] = []

    @property
    def lost(self) -> bool:
        """Whether the store takes no writes."""
        return self._lost_at_ns is not None

    @property
    def lost_at_ns(self) -> int | None:
        """Since when, in Unix nanoseconds; None while it does."""
        return self._lost_at_ns

    @property
    def isolated(self) -> bool:
        """Whether other members may take this one for dead. Never on a store that nobody shares."""
        return self._store.shared and self._silent_for() >= self._config.member_timeout

    def age(self) -> float | None:
        """Returns how old what is read here may be, in seconds; None where it is as new as can be.

        That is while a shared store is lost: the time since a heartbeat of this member was last seen in its view, and
        with it everything that others had written before. Nobody else writes to a store that is not shared.
        """
        return self._silent_for() if self.lost and self._store.shared else None

    def begin(self) -> None:
        """Takes the store for one that was just seen to be there."""
        self._beaten_at = self._clock.monotonic()

    def beaten(self) -> None:
        """A heartbeat has gone through and is in the view."""
        self._beaten_at = self._clock.monotonic()
        self.look()

    def look(self) -> None:
        """Looks, and calls the hooks if something has changed. To be called a few times in each `store_timeout`."""
        silent = self._store.shared and self._silent_for() >= self._config.store_timeout
        lost = silent or not self._store.writable
        if lost == self.lost:
            return
        if lost:
            log.error("the store takes no writes: reads are answered from memory")
            self._lost_at_ns = self._clock.time_ns()
        else:
            log.warning("the store takes writes again")
            self._lost_at_ns = None
        for hook in tuple(self.changed):
            hook(not lost)

    def _silent_for(self) -> float:
        return self._clock.monotonic() - self._beaten_at
