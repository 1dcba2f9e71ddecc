"""What comes due at a moment: a heap from which whatever has been moved or called off vanishes by itself."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

_SLACK = 64
"""Entries that the heap may hold beyond twice the live ones before it is rebuilt."""


class Timed(Protocol):
    """Something that comes due."""

    moment: float | None
    """When, in monotonic seconds; None means not, or not any more."""


T = TypeVar("T", bound=Timed)


class Agenda(Generic[T]):
    """Items in the order of their moments.

    A binary heap with lazy deletion: to move an item, set its `moment` and add it again; to call it off, set that to
    None. The heap stays within a constant factor of the items that are live.
    """

    __slots__ = ("_count", "_heap", "_limit")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._count = 0  # tells entries of one moment apart, so that items are never compared
        self._limit = _SLACK

    def add(self, item: T, moment: float) -> None:
        """Makes an item come due at a moment, in place of the one it had."""
        item.moment = moment
        self._count += 1
        heapq.heappush(self._heap, (moment, self._count, item))
        if len(self._heap) > self._limit:
            self._heap = [entry for entry in self._heap if entry[2].moment == entry[0]]
            heapq.heapify(self._heap)
            self._limit = 2 * len(self._heap) + _SLACK

    def __len__(self) -> int:
        """Entries in the heap, those of items that were moved or called off included."""
        return len(self._heap)

    def first(self) -> float | None:
        """Returns the earliest moment at which an item comes due."""
        heap = self._heap
        while heap and heap[0][2].moment != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop(self, now: float) -> Iterator[T]:
        """Yields the items that are due, in order, each with its moment set to None. Items may be added meanwhile."""
        while self._heap and self._heap[0][0] <= now:
            moment, _, item = heapq.heappop(self._heap)
            if item.moment == moment:
                item.moment = None
                yield item


def earliest(*moments: float | None) -> float | None:
    """Returns the first of the moments that are some; None if none is."""
    return min((moment for moment in moments if moment is not None), default=None)
