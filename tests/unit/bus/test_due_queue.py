"""Numbers in the order in which they are due, whatever way they came in."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.bus import due_queue as module
from sira_grpc.bus.due_queue import Due, DueQueue

SECOND = 1_000_000_000


@pytest.mark.parametrize("run", [4, 64, 16_384])
@pytest.mark.parametrize("seed", range(5))
def test_they_come_out_in_order(monkeypatch: pytest.MonkeyPatch, run: int, seed: int) -> None:
    monkeypatch.setattr(module, "RUN", run)
    rng = random.Random(seed)
    queue, model = DueQueue(), list[Due]()
    number = 0
    for _ in range(300):
        if rng.random() < 0.6:
            dues = [rng.randrange(1000) for _ in range(rng.randint(1, 9))]
            queue.add(number, dues)
            model += [Due(due, number + index) for index, due in enumerate(dues)]
            model.sort()
            number += len(dues)
        else:
            for _ in range(min(len(model), rng.randint(1, 12))):
                assert queue.pop() == model.pop(0)
        assert len(queue) == len(model)
        assert queue.first_ns == (model[0].due_ns if model else None)
    assert [queue.pop() for _ in model] == model
    with pytest.raises(IndexError):
        queue.pop()


def test_runs_that_have_become_short_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RUN", 10)
    queue = DueQueue()
    for turn in range(1000):
        queue.add(turn * 10, [turn * 10 + 10_000_000] + [turn * 10 + n for n in range(9)])
        for _ in range(9):
            queue.pop()
    assert len(queue) == 1000
    assert len(queue._runs) <= 1000 / 5 + 10


@given(
    dues=st.lists(st.integers(0, 100 * SECOND), min_size=1, max_size=80),
    limit=st.integers(1, 40),
)
def test_the_horizon_is_as_far_as_the_limit_allows(dues: list[int], limit: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RUN", 16)
        queue = DueQueue()
        for number, due in enumerate(dues):
            queue.add(number, [due])
        horizon = queue.horizon(limit)
        first = min(dues)
        assert first <= horizon <= first + 60 * SECOND
        within = sum(due <= horizon for due in dues)
        assert within <= limit or horizon == first
        if horizon < first + 60 * SECOND:
            assert sum(due <= horizon + 2_000_000 for due in dues) > limit, "a little further it is too much"


def test_a_million_take_little_memory() -> None:
    queue = DueQueue()
    for number in range(0, 200_000, 1000):
        queue.add(number, range(number, number + 1000))
    entries = sum(run.dues.itemsize + run.numbers.itemsize for run in queue._runs for _ in run.dues)
    assert entries <= 16 * 200_000
    assert len(queue._heap) <= module.RUN
