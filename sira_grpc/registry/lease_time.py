"""The time that TTLs run on: it stands still while this member could have heard from nobody."""

from __future__ import annotations

from sira_grpc.clock import Clock


class LeaseTime:
    """The monotonic clock less what was lost: to lose a second puts off the deadline of every lease by one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lost = 0.0

    def now(self) -> float:
        """Seconds that never go back, but for what is lost."""
        return self._clock.monotonic() - self._lost

    def lose(self, seconds: float) -> None:
        """Has the last so many seconds not count."""
        self._lost += seconds
