"""Lists of half-open ranges in order, as deliveries work them out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from sira_grpc.bus.delivery import Dead, Outcome, Retry, Taken

P = TypeVar("P", Dead, Retry, Taken)


def append(pieces: list[tuple[int, int]], first: int, end: int) -> None:
    """Adds a range behind the others; where it touches the last, they become one."""
    if pieces and pieces[-1][1] == first:
        pieces[-1] = (pieces[-1][0], end)
    else:
        pieces.append((first, end))


def runs(offsets: Iterable[int]) -> list[tuple[int, int]]:
    """Returns ascending offsets as ranges."""
    pieces: list[tuple[int, int]] = []
    first = end = -1
    for offset in offsets:
        if offset != end:
            if end >= 0:
                pieces.append((first, end))
            first = offset
        end = offset + 1
    if end >= 0:
        pieces.append((first, end))
    return pieces


def gaps(first: int, end: int, pieces: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yields what is left of [first, end) without the pieces, which lie in it, in order."""
    for start, stop in pieces:
        if first < start:
            yield first, start
        first = stop
    if first < end:
        yield first, end


def joined(pieces: Iterable[P]) -> list[P]:
    """Returns pieces with those made one that follow each other and differ in nothing else."""
    whole: list[P] = []
    for piece in pieces:
        if whole and whole[-1].end == piece.first and whole[-1][2:] == piece[2:]:
            whole[-1] = whole[-1]._replace(end=piece.end)
        else:
            whole.append(piece)
    return whole


def in_order(outcome: Outcome) -> Outcome:
    """Puts the retries and the dead of an outcome in order, and joins what was worked out record by record."""
    outcome.retries = joined(sorted(outcome.retries))
    outcome.dead = joined(sorted(outcome.dead))
    return outcome
