"""Time, as the domains are handed it: a wall clock for records and a monotonic one for deadlines."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def time_ns(self) -> int:
        """Wall-clock time in Unix nanoseconds: for what is shown or stored, never for measuring a span."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back: for deadlines. The same as the event loop's where there is one."""


class SystemClock:
    """The machine's own clocks."""

    def time_ns(self) -> int:
        """See Clock."""
        return time.time_ns()

    def monotonic(self) -> float:
        """See Clock."""
        return time.monotonic()
