"""A set of non-negative integers, such as the settled offsets of a partition, kept as ranges."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Spans:
    """A set of integers from 0, as disjoint half-open ranges in order.

    Everything below `floor` is in the set. Adding at the floor is a comparison and an assignment; elsewhere it is a
    binary search, and a shift in two lists of integers.

    Args:
        floor: every integer from 0 to before it is in the set.
        spans: further members, as ranges, in any order; they may overlap.
    """

    __slots__ = ("_ends", "_firsts", "_floor")

    def __init__(self, floor: int = 0, spans: Iterable[tuple[int, int]] = ()) -> None:
        self._floor = floor
        # The ranges above the floor. No two of them touch each other, and none touches the floor.
        self._firsts: list[int] = []
        self._ends: list[int] = []
        for first, end in spans:
            self.add(first, end)

    @property
    def floor(self) -> int:
        """The lowest integer that is not in the set."""
        return self._floor

    @property
    def end(self) -> int:
        """The integer after the highest in the set; 0 where it is empty."""
        return self._ends[-1] if self._ends else self._floor

    def __contains__(self, n: int) -> bool:
        if n < self._floor:
            return True
        at = bisect_right(self._firsts, n) - 1
        return at >= 0 and n < self._ends[at]

    def spans(self) -> list[tuple[int, int]]:
        """Returns the ranges above the floor, in order."""
        return list(zip(self._firsts, self._ends, strict=True))

    def add(self, first: int, end: int) -> int:
        """Adds a range, which may be empty, and returns how many of it were new."""
        first = max(first, self._floor)
        if first >= end:
            return 0
        firsts, ends = self._firsts, self._ends
        if not firsts or first > ends[-1]:
            if first == self._floor:
                self._floor = end
            else:
                firsts.append(first)
                ends.append(end)
            return end - first
        low = bisect_left(ends, first)  # the first range that ends where the new one begins, or later
        high = bisect_right(firsts, end, low)  # after the last one that begins where the new one ends, or earlier
        new = end - first - self._within(low, high, first, end)
        if low < high:
            first, end = min(first, firsts[low]), max(end, ends[high - 1])
        if first == self._floor:
            self._floor = end
            del firsts[low:high], ends[low:high]
        else:
            firsts[low:high], ends[low:high] = [first], [end]
        return new

    def missing(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Yields the ranges of [first, end) that are not in the set, in order. The set must not change meanwhile."""
        first = max(first, self._floor)
        at = bisect_right(self._ends, first)
        while first < end:
            if at == len(self._firsts):
                yield first, end
                return
            if first < self._firsts[at]:
                yield first, min(end, self._firsts[at])
            first = self._ends[at]
            at += 1

    def count(self, first: int, end: int) -> int:
        """Returns how many of [first, end) are in the set."""
        if first >= end:
            return 0
        below = max(0, min(end, self._floor) - first)
        low = bisect_right(self._ends, first)
        high = bisect_left(self._firsts, end, low)
        return below + self._within(low, high, first, end)

    def _within(self, low: int, high: int, first: int, end: int) -> int:
        """Returns how many of [first, end) are in the ranges from low to before high, all of which touch it."""
        firsts, ends = self._firsts, self._ends
        if high - low == 1:
            return min(end, ends[low]) - max(first, firsts[low])
        return sum(min(end, ends[at]) - max(first, firsts[at]) for at in range(low, high))
