"""The checker finds what is wrong with a history, and nothing where nothing is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.history import History, Operation
from tests.faults.linearizability import Model, first_contradiction, linearization
from tests.faults.models import (
    DONE,
    REFUSED,
    Acquire,
    CompareAndSet,
    FencedLock,
    FencedWrite,
    Read,
    Register,
    Release,
)


def op(call: Any, result: Any, invoked: float, returned: float | None) -> Operation:
    return Operation(call, result, invoked, returned)


def cas(old: str, new: str, result: str | None, invoked: float, returned: float | None) -> Operation:
    return op(CompareAndSet(old, new), result, invoked, returned)


REGISTERS: dict[str, tuple[bool, list[Operation]]] = {
    "empty": (True, []),
    "one after the other": (True, [cas("a", "b", DONE, 0, 1), cas("b", "c", DONE, 2, 3), op(Read(), "c", 4, 5)]),
    "both of two from one value": (False, [cas("a", "b", DONE, 0, 5), cas("a", "c", DONE, 0, 5)]),
    "one of two from one value": (True, [cas("a", "b", DONE, 0, 5), cas("a", "c", REFUSED, 0, 5)]),
    "refused while its value was there": (False, [cas("a", "b", REFUSED, 0, 1), cas("a", "c", DONE, 2, 3)]),
    "a read of what is no more": (False, [cas("a", "b", DONE, 0, 1), op(Read(), "a", 2, 3)]),
    "a read at the same time": (True, [cas("a", "b", DONE, 0, 3), op(Read(), "a", 2, 4)]),
    "unknown, and it was done": (True, [cas("a", "b", None, 0, None), cas("b", "c", DONE, 9, 10)]),
    "unknown, and it was not": (True, [cas("a", "b", None, 0, None), cas("a", "c", DONE, 9, 10)]),
    "unknown, and done late": (
        True,
        [cas("a", "b", None, 0, None), op(Read(), "a", 1, 2), op(Read(), "b", 8, 9)],
    ),
    "unknown, and done before it was asked for": (False, [op(Read(), "b", 0, 1), cas("a", "b", None, 2, None)]),
    "unknown, done and undone": (
        False,
        [cas("a", "b", None, 0, None), op(Read(), "b", 1, 2), op(Read(), "a", 3, 4)],
    ),
    "lost": (False, [cas("a", "b", DONE, 0, 1), cas("a", "c", DONE, 2, 3)]),
    "a chain, in one of many orders": (
        True,
        [cas(str(i), str(i + 1), DONE, 0, 100) for i in reversed(range(1, 9))] + [cas("a", "1", DONE, 0, 100)],
    ),
}

LOCKS: dict[str, tuple[bool, list[Operation]]] = {
    "tokens grow": (True, [op(Acquire(), 3, 0, 1), op(Release(3), DONE, 2, 3), op(Acquire(), 4, 4, 5)]),
    "a token given out twice": (False, [op(Acquire(), 3, 0, 1), op(Acquire(), 3, 2, 3)]),
    "a token that falls": (False, [op(Acquire(), 3, 0, 1), op(Acquire(), 2, 2, 3)]),
    "a write of the holder": (True, [op(Acquire(), 3, 0, 1), op(FencedWrite(3), DONE, 2, 3)]),
    "a write of the holder before": (
        False,
        [op(Acquire(), 3, 0, 1), op(Acquire(), 4, 2, 3), op(FencedWrite(3), DONE, 4, 5)],
    ),
    "a write while the lock goes on": (
        True,
        [op(Acquire(), 3, 0, 1), op(Acquire(), 4, 2, 6), op(FencedWrite(3), DONE, 4, 5)],
    ),
    "a write after it was given back": (
        False,
        [op(Acquire(), 3, 0, 1), op(Release(3), DONE, 2, 3), op(FencedWrite(3), DONE, 4, 5)],
    ),
    "a write after it may have been given back": (
        True,
        [op(Acquire(), 3, 0, 1), op(Release(3), None, 2, None), op(FencedWrite(3), DONE, 4, 5)],
    ),
    "refused, and then not": (
        False,
        [op(Acquire(), 3, 0, 1), op(FencedWrite(3), REFUSED, 2, 3), op(FencedWrite(3), DONE, 4, 5)],
    ),
    "never acquired": (False, [op(FencedWrite(3), DONE, 4, 5)]),
    "given back late by somebody else's key": (
        True,
        [op(Acquire(), 3, 0, 1), op(Acquire(), 4, 2, 3), op(Release(3), DONE, 4, 5), op(FencedWrite(4), DONE, 6, 7)],
    ),
}


@pytest.mark.parametrize("name", REGISTERS)
def test_registers(name: str) -> None:
    good, history = REGISTERS[name]
    assert (linearization(history, Register("a")) is not None) == good


@pytest.mark.parametrize("name", LOCKS)
def test_locks(name: str) -> None:
    good, history = LOCKS[name]
    assert (linearization(history, FencedLock()) is not None) == good


def test_the_contradiction_is_told_without_what_came_after_it() -> None:
    later = [cas(f"x{i}", f"x{i + 1}", DONE, 10 + i, 10.5 + i) for i in range(5)]
    wrong = [cas("a", "b", DONE, 0, 1), cas("a", "x0", DONE, 2, 3)]
    assert first_contradiction([*wrong, *later], Register("a")) == wrong
    assert first_contradiction(wrong[:1], Register("a")) == []


def test_a_long_history_with_many_unknown_outcomes_is_judged_at_once() -> None:
    history, value = [], "a"
    for number in range(300):
        history.append(cas(value, f"lost{number}", None, number, None))
        history.append(cas(value, str(number), DONE, number, number + 0.5))
        history += [cas("never", f"{number}/{i}", REFUSED, number, number + 3) for i in range(3)]
        value = str(number)
    assert linearization(history, Register("a")) is not None
    history.append(cas("7", "8", DONE, 5_000, 5_001))
    assert linearization(history, Register("a")) is None


def test_a_history_knows_what_was_answered_and_what_was_not() -> None:
    now = iter([3.0, 5.0])
    history = History(lambda: next(now))
    history.done("x", Read(), "a", 1.0)
    history.unknown("x", Read(), 4.0)
    assert history.by_object == {"x": [op(Read(), "a", 1.0, 3.0), op(Read(), None, 4.0, None)]}
    assert history.counts == {"answered": 1, "unknown": 1}


@st.composite
def histories(draw: st.DrawFn, calls: st.SearchStrategy[tuple[Any, Any]]) -> list[Operation]:
    history = []
    for call, result in draw(st.lists(calls, max_size=5)):
        invoked = draw(st.integers(0, 8))
        took = draw(st.sampled_from([None, 0, 1, 2, 4]))
        history.append(op(call, None if took is None else result, invoked, None if took is None else invoked + took))
    return history


VALUES = st.sampled_from("abc")
REGISTER_CALLS = st.one_of(
    st.tuples(st.builds(CompareAndSet, VALUES, VALUES), st.sampled_from([DONE, DONE, REFUSED])),
    st.tuples(st.builds(Read), VALUES),
)
TOKENS = st.integers(1, 3)
LOCK_CALLS = st.one_of(
    st.tuples(st.builds(Acquire), TOKENS),
    st.tuples(st.builds(Release, TOKENS), st.just(DONE)),
    st.tuples(st.builds(FencedWrite, TOKENS), st.sampled_from([DONE, DONE, REFUSED])),
)


def explained(history: Sequence[Operation], model: Model[Any]) -> bool:
    """Whether any order of the operations that ended, and any of the others, explains all: by trying all of them."""
    ended = [each for each in history if each.returned is not None]
    unknown = [each for each in history if each.returned is None]
    for count in range(len(unknown) + 1):
        for taken in combinations(unknown, count):
            for order in permutations([*ended, *taken]):
                if _keeps_time(order) and _goes(order, model):
                    return True
    return False


def _keeps_time(order: Sequence[Operation]) -> bool:
    return not any(
        later.returned is not None and later.returned < earlier.invoked
        for place, earlier in enumerate(order)
        for later in order[place + 1 :]
    )


def _goes(order: Sequence[Operation], model: Model[Any]) -> bool:
    state = model.initial
    for operation in order:
        state = model.step(state, operation)
        if state is None:
            return False
    return True


@given(histories(REGISTER_CALLS))
def test_agrees_with_trying_all_orders_of_a_register(history: list[Operation]) -> None:
    found = linearization(history, Register("a"))
    assert (found is not None) == explained(history, Register("a"))
    if found is not None:
        assert _keeps_time(found)
        assert _goes(found, Register("a"))


@given(histories(LOCK_CALLS))
def test_agrees_with_trying_all_orders_of_a_lock(history: list[Operation]) -> None:
    assert (linearization(history, FencedLock()) is not None) == explained(history, FencedLock())
