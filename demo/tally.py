"""Who got how many calls: the reports of the callers, added up."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from demo.report import Report

Pair = tuple[str, str]
"""A caller and who answered it."""


class Tally:
    """Adds up reports."""

    def __init__(self) -> None:
        self.calls: Counter[Pair] = Counter()
        self.retried = 0
        self.failed = 0
        self.errors: list[str] = []
        self._millis: list[float] = []
        self._latest: deque[tuple[float, Counter[Pair]]] = deque()

    def take(self, caller: str, report: Report, now: float) -> None:
        """Adds a report that came at a time in seconds."""
        counted = Counter({(caller, greeter): count for greeter, count in report.answered.items()})
        self.calls += counted
        self.retried += report.retried
        self.failed += report.failed
        self.errors += report.errors
        self._millis += report.millis
        self._latest.append((now, counted))

    def last_second(self, now: float) -> Counter[Pair]:
        """The calls that were reported within the last second."""
        while self._latest and self._latest[0][0] <= now - 1.0:
            self._latest.popleft()
        total: Counter[Pair] = Counter()
        for _, counted in self._latest:
            total += counted
        return total

    def percentile(self, percent: float) -> float:
        """The latency in milliseconds that so many percent of the calls did not exceed; 0 before the first call."""
        ordered = sorted(self._millis)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0.0


def of(calls: Counter[Pair], *, caller: str | None = None, greeters: Iterable[str] | None = None) -> int:
    """How many of the calls one caller made, None for any, to some greeters, None for all."""
    wanted = None if greeters is None else set(greeters)
    return sum(
        count
        for (who, whom), count in calls.items()
        if (caller is None or who == caller) and (wanted is None or whom in wanted)
    )
