from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.bus.spans import Spans

FIRST = st.integers(0, 40)
RANGE = st.tuples(FIRST, st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))
RANGES = st.lists(RANGE, max_size=25)


def members(ranges: list[tuple[int, int]]) -> set[int]:
    return {n for first, end in ranges for n in range(first, end)}


def test_an_empty_set_has_nothing() -> None:
    spans = Spans()
    assert (spans.floor, spans.end, spans.spans()) == (0, 0, [])
    assert 0 not in spans
    assert list(spans.missing(3, 5)) == [(3, 5)]
    assert spans.count(0, 1 << 62) == 0


def test_in_order_the_floor_rises_and_nothing_is_kept() -> None:
    spans = Spans(5)
    for first in range(5, 2_005, 2):
        assert spans.add(first, first + 2) == 2
    assert (spans.floor, spans.end, spans.spans()) == (2_005, 2_005, [])


def test_the_floor_takes_in_what_it_reaches() -> None:
    spans = Spans(0, [(4, 6), (8, 9), (2, 3)])
    assert spans.add(0, 2) == 2
    assert (spans.floor, spans.spans()) == (3, [(4, 6), (8, 9)])
    assert spans.add(1, 8) == 3
    assert (spans.floor, spans.spans()) == (9, [])


def test_ranges_that_touch_are_one() -> None:
    spans = Spans()
    assert [spans.add(*span) for span in ((10, 12), (14, 16), (12, 14))] == [2, 2, 2]
    assert spans.spans() == [(10, 16)]


@given(FIRST, RANGES)
def test_it_has_what_a_set_has(floor: int, ranges: list[tuple[int, int]]) -> None:
    spans, model = Spans(floor), set(range(floor))
    for first, end in ranges:
        assert spans.add(first, end) == len(members([(first, end)]) - model)
        model |= members([(first, end)])
        assert {n for n in range(60) if n in spans} == model
        assert spans.end == max(model, default=-1) + 1
        known = [(0, spans.floor), *spans.spans()]
        assert members(known) == model
        assert all(left[1] < right[0] for left, right in pairwise(known))


@given(FIRST, RANGES, RANGE)
def test_what_is_missing_and_what_is_there_make_up_the_range(
    floor: int, ranges: list[tuple[int, int]], asked: tuple[int, int]
) -> None:
    spans = Spans(floor, ranges)
    there = members([(0, floor), *ranges]) & members([asked])
    missing = list(spans.missing(*asked))
    assert members(missing) == members([asked]) - there
    assert all(left[1] < right[0] for left, right in pairwise(missing))
    assert spans.count(*asked) == len(there)
