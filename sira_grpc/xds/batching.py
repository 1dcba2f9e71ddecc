"""Batching: when a change is pushed."""

from __future__ import annotations

STEPS = 16
"""The shortest wait is this part of the longest."""
SHARE = 4
"""The wait is so many times as long as the push before: pushes take a fifth of the time at most, up to the limit."""


class Batching:
    """Lets a change through at once, unless it comes hot on the heels of a push: then after a wait.

    The wait is counted from the end of that push, and the longer the more there was to do: changes that come thick and
    fast are gathered where there are many clients, and are on their way at once where there are few.

    Args:
        limit: the longest wait, seconds. 0 means that nothing ever waits.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._free = float("-inf")

    def admit(self, now: float) -> float:
        """Returns the time from which a change that has come now, the first since the last push, may be pushed."""
        return max(now, self._free)

    def pushed(self, begun: float, ended: float) -> None:
        """Notes a push."""
        self._free = ended + min(self._limit, max(self._limit / STEPS, SHARE * (ended - begun)))
