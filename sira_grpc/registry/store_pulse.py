"""Whether the store takes writes, so that no lease expires for want of a sign of life that could not be written."""

from __future__ import annotations

from collections.abc import Callable

from sira_grpc.clock import Clock
from sira_grpc.registry.view import RegistryView

RETURN_SECONDS = 5.0
"""Time that clients have to come back, at most, once a store that had stalled takes writes again."""


class StorePulse:
    """Listens to what a shared store takes, and takes the time in which it takes nothing off the time of leases.

    A client whose member has died is only back once another member has written that it has its lease. On a shared store
    the heartbeats of the members never stop, this member's among them: while the view shows nothing new, the store has
    stalled or this member has lost it, and either way nobody could come back. Nothing expires then. When it goes on,
    that time does not count, and every lease has as long again, RETURN_SECONDS at most, as clients try at intervals.
    A store that only this member is on needs none of that: what it has adopted is renewed without a write.

    Args:
        lose: takes seconds off the time of leases.
        quiet: seconds without anything new after which a shared store has stalled; more than members leave between
            two heartbeats. None for a store that is not shared.
    """

    def __init__(self, view: RegistryView, clock: Clock, lose: Callable[[float], None], *, quiet: float | None) -> None:
        self._view = view
        self._clock = clock
        self._lose = lose
        self._quiet = quiet
        self._looked_at = 0  # revision
        self._heard_at = clock.monotonic()
        self._stall = 0.0  # seconds, of the last one
        if quiet is not None:
            view.hooks.applied.append(self._heard)

    def _heard(self) -> None:
        now = self._clock.monotonic()
        silence, self._heard_at = now - self._heard_at, now
        if self._quiet is not None and silence > self._quiet:
            self._lose(silence + min(silence, RETURN_SECONDS))
            self._stall = silence

    def slept(self, seconds: float) -> None:
        """Notes that this member has heard nobody for a while, as it was stopped: that time does not count."""
        now = self._clock.monotonic()
        told_already = self._stall if self._heard_at >= now - seconds else 0.0  # the view was quicker
        self._lose(max(0.0, seconds - told_already))
        self._heard_at, self._stall = max(self._heard_at, now), 0.0

    def felt(self) -> bool:
        """Whether the store has taken a write since the last call: leases may expire now."""
        if self._quiet is None:
            return True
        looked_at, self._looked_at = self._looked_at, self._view.revision
        return self._looked_at != looked_at
