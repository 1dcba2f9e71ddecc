"""Time that stands still until a test moves it."""

from __future__ import annotations

NANOS = 1_000_000_000


class FakeClock:
    """Both clocks of sira_grpc.clock.Clock, moved by advance() alone."""

    def __init__(self, *, time_ns: int = 1_800_000_000 * NANOS, monotonic: float = 1_000.0) -> None:
        self._time_ns = time_ns
        self._monotonic = monotonic

    def time_ns(self) -> int:
        return self._time_ns

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._time_ns += round(seconds * NANOS)
        self._monotonic += seconds
