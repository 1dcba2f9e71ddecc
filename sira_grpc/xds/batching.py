"""Batching: when a change is pushed."""

from __future__ import annotations

STEPS = 16
"""The shortest wait is this part of the longest."""
SHARE = 4
"""A wait is at most so many times as long as the push before: then pushes take a fifth of the time."""


class Batching:
    """Lets a change through at once, unless it comes hot on the heels of a push: then after a wait.

    The wait is counted from the end of that push. It doubles as long as changes run into it, and halves when one does
    not; and it is the longer the more a push has to do, so that where there are few clients nothing waits for long.

    Args:
        limit: the longest wait, seconds. 0 means that nothing ever waits.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._least = self._most = self._wait = limit / STEPS
        self._pushed = float("-inf")

    def admit(self, now: float) -> float:
        """Returns the time from which a change that has come now, the first since the last push, may be pushed."""
        free = self._pushed + self._wait
        if now >= free:
            self._wait = max(self._least, self._wait / 2)
            return now
        self._wait = min(self._most, self._wait * 2)
        return free

    def pushed(self, begun: float, ended: float) -> None:
        """Notes a push."""
        self._pushed = ended
        self._most = min(self._limit, max(self._least, SHARE * (ended - begun)))
        self._wait = min(self._wait, self._most)
