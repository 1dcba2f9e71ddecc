"""How long to wait before trying again."""

from __future__ import annotations

from random import Random


class Backoff:
    """Exponential back-off with jitter, so that clients that lost the kernel together do not come back together.

    The n-th delay is drawn between half of and the whole of min(longest, first * 2^n) seconds.

    Source: "Equal jitter" of Marc Brooker, "Exponential Backoff And Jitter" (2015).

    Args:
        first: the longest that the first delay may be, in seconds.
        longest: the longest that any delay may be, in seconds.
        random: where chance comes from.
    """

    def __init__(self, first: float, longest: float, random: Random) -> None:
        self._first = first
        self._longest = longest
        self._random = random
        self._ceiling = first

    def next(self, asked: float | None = None) -> float:
        """The next delay in seconds. What the kernel asked for, if it did, comes on top of it."""
        delay = self._random.uniform(self._ceiling / 2, self._ceiling) + (asked or 0.0)
        self._ceiling = min(self._longest, self._ceiling * 2)
        return delay

    def reset(self) -> None:
        """Begins again with the first delay: something worked."""
        self._ceiling = self._first
