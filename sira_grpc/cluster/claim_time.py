"""Time as the TTLs of claims are measured in: it stands still while nobody could be heard."""

from __future__ import annotations

from sira_grpc.clock import Clock

STEP_SECONDS = 1.0
"""What passes from one tick to the next at most, however long it took."""


class ClaimTime:
    """Seconds that only grow, and not while this process was stopped or the store could not be reached.

    A holder whose renewals found a member that was stopped, or members without a store, has done what it could: when
    they are back, it has as much of its TTL left as before.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ticked = clock.monotonic()
        self._passed = 0.0

    def tick(self, *, counts: bool) -> None:
        """Goes on; to be called several times a second. `counts`: holders could be heard since the last tick."""
        if counts:
            self._passed = self.now()
        self._ticked = self._clock.monotonic()

    def now(self) -> float:
        """Returns the seconds that have passed."""
        return self._passed + min(self._clock.monotonic() - self._ticked, STEP_SECONDS)
