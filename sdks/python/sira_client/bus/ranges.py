"""Sets of offsets as ranges."""

from __future__ import annotations

from collections.abc import Iterable

from sira.bus.v1.subscription_service_pb2 import OffsetRange


class Ranges:
    """Gathers offsets. Those that come in their order, as most do, are one range at once."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __len__(self) -> int:
        """How many ranges there are, at most."""
        return len(self._starts)

    def add(self, first: int, end: int) -> int:
        """Adds the offsets from first to before end. Returns how many ranges there are more: 0 or 1."""
        ends = self._ends
        if ends and ends[-1] == first:
            ends[-1] = end
            return 0
        self._starts.append(first)
        ends.append(end)
        return 1

    def merged(self) -> list[OffsetRange]:
        """The ranges in order. Those that touch are one."""
        merged: list[OffsetRange] = []
        first = end = -1
        for start, stop in sorted(zip(self._starts, self._ends, strict=True)):
            if start <= end:
                end = max(end, stop)
            else:
                if end >= 0:
                    merged.append(OffsetRange(first=first, end=end))
                first, end = start, stop
        if end >= 0:
            merged.append(OffsetRange(first=first, end=end))
        return merged


def ranges_of(offsets: Iterable[int]) -> Ranges:
    """The ranges of these offsets."""
    ranges = Ranges()
    for offset in offsets:
        ranges.add(offset, offset + 1)
    return ranges
