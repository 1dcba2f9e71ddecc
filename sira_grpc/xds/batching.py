"""Batching: when a change is pushed."""

from __future__ import annotations

STEPS = 16
"""The shortest wait is this part of the longest."""


class Batching:
    """Lets a change through at once, unless it comes hot on the heels of a push: then after a wait.

    The wait is counted from that push. It doubles as long as changes run into it, and halves when one does not.

    Args:
        limit: the longest wait, seconds. 0 means that nothing ever waits.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._wait = limit / STEPS
        self._pushed = float("-inf")

    def admit(self, now: float) -> float:
        """Returns the time from which a change that has come now, the first since the last push, may be pushed."""
        free = self._pushed + self._wait
        if now >= free:
            self._wait = max(self._limit / STEPS, self._wait / 2)
            return now
        self._wait = min(self._limit, self._wait * 2)
        return free

    def pushed(self, now: float) -> None:
        """Notes a push."""
        self._pushed = now
