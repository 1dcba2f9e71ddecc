"""The newest frames of all partitions, in memory up to a size, so that readers who keep up read no disk."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

from sira_grpc.bus.stored import Held


class RecentFrames:
    """The newest frames of one partition, without a gap up to its end."""

    def __init__(self, budget: RecentBudget) -> None:
        self._budget = budget
        self._frames: deque[Held] = deque()
        self._bases: deque[int] = deque()

    def add(self, held: Held) -> None:
        """Takes the newest frame."""
        self._frames.append(held)
        self._bases.append(held.base)
        self._budget.added(self, held.size)

    def find(self, offset: int) -> Held | None:
        """Returns the first frame that ends after an offset; None if it is not one of these."""
        if not self._bases or offset < self._bases[0]:
            return None
        if offset >= self._bases[-1]:
            last = self._frames[-1]
            return last if offset < last.end else None
        place = bisect_right(self._bases, offset) - 1
        held = self._frames[place]
        return held if offset < held.end else self._frames[place + 1]

    def drop_oldest(self) -> None:
        """Lets go of the oldest one."""
        if self._frames:
            self._frames.popleft()
            self._bases.popleft()

    def clear(self) -> None:
        """Lets go of all."""
        self._frames.clear()
        self._bases.clear()


class RecentBudget:
    """Bounds the frames of all partitions together: the oldest go first.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._order: deque[tuple[RecentFrames, int]] = deque()

    def added(self, frames: RecentFrames, size: int) -> None:
        """Counts a frame, and has the oldest dropped until all fit."""
        self._order.append((frames, size))
        self._taken += size
        while self._taken > self._limit:
            oldest, oldest_size = self._order.popleft()
            self._taken -= oldest_size
            oldest.drop_oldest()
