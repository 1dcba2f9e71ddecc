"""A map from integers to values in which neighbours share a value: disjoint ranges, each with its value."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Generic, TypeVar

V = TypeVar("V")

UNLIMITED = 1 << 62
"""More than there can be in any map."""


class RangeMap(Generic[V]):
    """Disjoint half-open ranges in order, each with a value. Ranges that touch and have equal values are one.

    A change is a binary search and a shift in one list of integers, whatever the size of the ranges.
    """

    __slots__ = ("_cells", "_firsts", "size")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._cells: dict[int, tuple[int, V]] = {}  # by the first of a range: its end, its value
        self.size = 0
        """Integers in all the ranges together."""

    def __iter__(self) -> Iterator[tuple[int, int, V]]:
        """Yields every range: first, end, value."""
        for first in self._firsts:
            end, value = self._cells[first]
            yield first, end, value

    @property
    def end(self) -> int:
        """The end of the last range; 0 where there is none."""
        return self._cells[self._firsts[-1]][0] if self._firsts else 0

    def put(self, first: int, end: int, value: V) -> None:
        """Adds a range, not empty, in which there must be nothing yet."""
        firsts, cells = self._firsts, self._cells
        self.size += end - first
        at = bisect_left(firsts, first)
        following = cells.get(end)
        if following is not None and following[1] == value:
            end = following[0]
            del cells[firsts[at]], firsts[at]
        if at:
            before = firsts[at - 1]
            stop, known = cells[before]
            if stop == first and known == value:
                cells[before] = (end, value)
                return
        firsts.insert(at, first)
        cells[first] = (end, value)

    def cut(self, first: int, end: int, limit: int = UNLIMITED) -> list[tuple[int, int, V]]:
        """Takes out what there is in [first, end), the lowest first, `limit` integers at most, and returns it in order.

        Ranges that reach beyond are split.
        """
        if first >= end:
            return []
        firsts, cells = self._firsts, self._cells
        low = bisect_right(firsts, first) - 1
        if low < 0 or cells[firsts[low]][0] <= first:
            low += 1
        pieces: list[tuple[int, int, V]] = []
        kept: list[int] = []
        left, high = limit, low
        while high < len(firsts) and left > 0 and firsts[high] < end:
            start = firsts[high]
            stop, value = cells.pop(start)
            if start < first:
                cells[start] = (first, value)
                kept.append(start)
                start = first
            last = min(stop, end, start + left)
            if last < stop:
                cells[last] = (stop, value)
                kept.append(last)
            pieces.append((start, last, value))
            left -= last - start
            high += 1
        firsts[low:high] = kept
        self.size -= limit - left
        return pieces
