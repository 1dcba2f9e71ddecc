"""A set of non-negative integers that may have very many ranges: as Spans, but cut into blocks."""

from __future__ import annotations

from collections.abc import Iterator

from sira_grpc.bus.spans import Spans

BLOCK = 1 << 14
"""Integers in a block: adding one moves no more than what is in its block."""


class SpanBlocks:
    """A set of integers from 0, as disjoint half-open ranges in order. Everything below `floor` is in the set."""

    __slots__ = ("_end", "_full", "_parts")

    def __init__(self) -> None:
        self._end = 0
        # Blocks that are in the set as a whole; and what of a block is in it where only a part is.
        self._full = Spans()
        self._parts: dict[int, Spans] = {}

    @property
    def floor(self) -> int:
        """The lowest integer that is not in the set."""
        part = self._parts.get(self._full.floor // BLOCK)
        return self._full.floor if part is None else part.floor

    @property
    def end(self) -> int:
        """The integer after the highest in the set; 0 where it is empty."""
        return self._end

    def __contains__(self, n: int) -> bool:
        return n in self._parts.get(n // BLOCK, self._full)

    def add(self, first: int, end: int) -> int:
        """Adds a range, which may be empty, and returns how many of it were new."""
        new = 0
        if first < end:
            self._end = max(self._end, end)
        while first < end:
            block = first // BLOCK
            base, stop = block * BLOCK, (block + 1) * BLOCK
            if first == base and end >= stop:
                stop = end // BLOCK * BLOCK
                new += stop - first - self.count(first, stop)
                for each in self._blocks(first, stop):
                    del self._parts[each]
                self._full.add(first, stop)
            elif first not in self._full:
                part = self._parts.setdefault(block, Spans(base))
                new += part.add(first, min(end, stop))
                if part.floor == stop:
                    del self._parts[block]
                    self._full.add(base, stop)
            first = stop
        return new

    def missing(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Yields the ranges of [first, end) that are not in the set, in order. The set must not change meanwhile."""
        start = stop = -1
        for low, high in self._full.missing(first, end):
            for piece in self._pieces(low, high):
                if piece[0] == stop:
                    stop = piece[1]
                    continue
                if start < stop:
                    yield start, stop
                start, stop = piece
        if start < stop:
            yield start, stop

    def _pieces(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Yields the ranges of [first, end), which has no full block, that are not in the set."""
        for block in self._blocks(first, end):
            base = block * BLOCK
            if first < base:
                yield first, base
                first = base
            yield from self._parts[block].missing(first, min(end, base + BLOCK))
            first = min(end, base + BLOCK)
        if first < end:
            yield first, end

    def spans(self) -> Iterator[tuple[int, int]]:
        """Yields the ranges above the floor, in order. The set must not change meanwhile."""
        position = self.floor
        for low, high in self.missing(position, self._end):
            if position < low:
                yield position, low
            position = high
        if position < self._end:
            yield position, self._end

    def count(self, first: int, end: int) -> int:
        """Returns how many of [first, end) are in the set."""
        in_parts = sum(
            self._parts[block].count(max(first, block * BLOCK), min(end, (block + 1) * BLOCK))
            for block in self._blocks(first, end)
        )
        return self._full.count(first, end) + in_parts

    def _blocks(self, first: int, end: int) -> list[int]:
        """Returns the blocks that are in the set in part and that touch a range, in order."""
        low, high = first // BLOCK, -(-end // BLOCK)
        if high - low <= len(self._parts):
            return [block for block in range(low, high) if block in self._parts]
        return sorted(block for block in self._parts if low <= block < high)
