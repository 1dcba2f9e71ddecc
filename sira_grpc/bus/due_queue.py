"""Numbers in the order of when they are due, many of them in little memory."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from heapq import heappop, heappush, heapreplace
from operator import neg
from typing import NamedTuple

RUN = 16_384
"""So many entries are kept as objects; when there are more, they become a sorted run of 16 bytes each."""
_MINUTE = 60_000_000_000
_PRECISION = 1_000_000
_NUMBER_BITS = 63
_NUMBER = (1 << _NUMBER_BITS) - 1


class Due(NamedTuple):
    """A number, and when it is due: Unix nanoseconds."""

    due_ns: int
    number: int


class _Run:
    """Entries in order; the first comes last in the arrays, so that it is taken off their ends."""

    __slots__ = ("dues", "numbers")

    def __init__(self, entries: list[int]) -> None:
        self.dues = array("q", (entry >> _NUMBER_BITS for entry in reversed(entries)))
        self.numbers = array("q", (entry & _NUMBER for entry in reversed(entries)))

    def __len__(self) -> int:
        return len(self.dues)

    def entries(self) -> list[int]:
        """Returns what is left, packed."""
        return [_packed(due, number) for due, number in zip(self.dues, self.numbers, strict=True)]


class DueQueue:
    """A priority queue of numbers from 0 to 2**63 - 1 by time, then by number.

    New entries go to a heap. A heap that is full becomes a sorted run; the runs are merged as they are read, which
    takes the logarithm of their number for each entry. The runs of a log-structured merge tree, in memory.
    """

    def __init__(self) -> None:
        self._heap: list[int] = []
        self._runs: list[_Run] = []
        # The first entry of each run, and the run.
        self._heads: list[tuple[int, int]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def first_ns(self) -> int | None:
        """When the first one is due, Unix nanoseconds; None if there is none."""
        first = self._first()
        return None if first is None else first >> _NUMBER_BITS

    def horizon(self, limit: int) -> int:
        """Returns a time up to which at most so many are due, at most a minute after the first: Unix nanoseconds.

        If more are due at once, it is their time.
        """
        low = self.first_ns or 0
        high = low + _MINUTE
        heap = sorted(entry >> _NUMBER_BITS for entry in self._heap)
        if self._count <= limit or self._until(high, heap) <= limit:
            return high
        while high - low > _PRECISION:
            middle = (low + high) // 2
            if self._until(middle, heap) <= limit:
                low = middle
            else:
                high = middle
        return low

    def _until(self, time_ns: int, heap: list[int]) -> int:
        """Returns how many are due at a time or before."""
        in_runs = sum(len(run) - bisect_left(run.dues, -time_ns, key=neg) for run in self._runs)
        return in_runs + bisect_right(heap, time_ns)

    def add(self, number: int, dues_ns: Sequence[int]) -> None:
        """Takes numbers that follow one another, from the first one on, with when each is due."""
        for index, due_ns in enumerate(dues_ns):
            heappush(self._heap, _packed(due_ns, number + index))
        self._count += len(dues_ns)
        if len(self._heap) >= RUN:
            self._make_run()

    def pop(self) -> Due:
        """Takes out the first one.

        Raises:
            IndexError: there is none.
        """
        first = self._first()
        if first is None:
            raise IndexError("nothing is due")
        self._count -= 1
        if self._heap and self._heap[0] == first:
            heappop(self._heap)
        else:
            self._pop_head()
        return Due(first >> _NUMBER_BITS, first & _NUMBER)

    def _first(self) -> int | None:
        if not self._heads:
            return self._heap[0] if self._heap else None
        head = self._heads[0][0]
        return min(head, self._heap[0]) if self._heap else head

    def _pop_head(self) -> None:
        place = self._heads[0][1]
        run = self._runs[place]
        run.dues.pop()
        run.numbers.pop()
        if run:
            heapreplace(self._heads, (_packed(run.dues[-1], run.numbers[-1]), place))
        else:
            heappop(self._heads)

    def _make_run(self) -> None:
        """Makes a run of the heap, and of the shortest run if it is short: or there would be more and more of them."""
        entries, self._heap = self._heap, []
        runs = [run for run in self._runs if run]
        shortest = min(runs, key=len, default=None)
        if shortest is not None and len(shortest) < RUN // 2:
            runs.remove(shortest)
            entries += shortest.entries()
        entries.sort()
        runs.append(_Run(entries))
        self._runs = runs
        self._heads = sorted((_packed(run.dues[-1], run.numbers[-1]), place) for place, run in enumerate(runs))


def _packed(due_ns: int, number: int) -> int:
    return due_ns << _NUMBER_BITS | number
