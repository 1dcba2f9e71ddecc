from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.bus.range_map import RangeMap

RANGE = st.tuples(st.integers(0, 30), st.integers(1, 8)).map(lambda pair: (pair[0], pair[0] + pair[1]))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), RANGE, st.integers(1, 3)),
        st.tuples(st.just("cut"), RANGE, st.integers(0, 10)),
    ),
    max_size=30,
)


def whole(model: dict[int, int]) -> list[tuple[int, int, int]]:
    """A model as ranges: as few as there can be."""
    ranges: list[tuple[int, int, int]] = []
    for n in sorted(model):
        if ranges and ranges[-1][1] == n and ranges[-1][2] == model[n]:
            ranges[-1] = (ranges[-1][0], n + 1, model[n])
        else:
            ranges.append((n, n + 1, model[n]))
    return ranges


@given(STEPS)
def test_it_has_what_a_dict_has(steps: list[tuple[str, tuple[int, int], int]]) -> None:
    ranges: RangeMap[int] = RangeMap()
    model: dict[int, int] = {}
    for what, (first, end), number in steps:
        there = [n for n in range(first, end) if n in model]
        if what == "put" and not there:
            ranges.put(first, end, number)
            model |= dict.fromkeys(range(first, end), number)
        elif what == "cut":
            taken = there[:number]
            assert ranges.cut(first, end, number) == whole({n: model.pop(n) for n in taken})
        assert list(ranges) == whole(model)
        assert ranges.size == len(model)
        assert ranges.end == max(model, default=-1) + 1


def test_to_cut_nothing_changes_nothing() -> None:
    ranges: RangeMap[str] = RangeMap()
    ranges.put(0, 10, "a")
    assert ranges.cut(5, 5) == ranges.cut(7, 3) == ranges.cut(3, 7, 0) == []
    assert list(ranges) == [(0, 10, "a")]
