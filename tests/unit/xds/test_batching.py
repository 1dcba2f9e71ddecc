from __future__ import annotations

import pytest

from sira_grpc.xds.batching import SHARE, STEPS, Batching

LIMIT = 0.16
STEP = LIMIT / STEPS


def run(batching: Batching, took: float, count: int = 8) -> list[float]:
    """Has changes come right behind each push, each of which takes so long. Returns how long they wait."""
    now, waits = 1.0, []
    for _ in range(count):
        batching.pushed(now, now + took)
        now += took
        at = batching.admit(now)
        waits.append(at - now)
        now = at
    return waits


def test_a_change_by_itself_is_pushed_at_once() -> None:
    batching = Batching(LIMIT)
    for now in (0.0, 1.0, 1.5, 1.5 + 2 * STEP):
        assert batching.admit(now) == now
        batching.pushed(now, now)


def test_one_right_behind_a_push_waits_little_however_much_there_was_to_do() -> None:
    assert run(Batching(LIMIT), took=10.0, count=1) == [pytest.approx(STEP)]


@pytest.mark.parametrize(
    ("took", "longest"), [(0.0, STEP), (STEP / 100, STEP), (STEP, SHARE * STEP), (LIMIT / 2, LIMIT), (10.0, LIMIT)]
)
def test_those_that_keep_coming_wait_the_longer_the_more_there_is_to_do(took: float, longest: float) -> None:
    waits = run(Batching(LIMIT), took)
    assert waits == sorted(waits)
    assert waits[0] == pytest.approx(STEP)
    assert waits[-1] == pytest.approx(longest)


def test_waits_become_short_again() -> None:
    batching = Batching(LIMIT)
    run(batching, took=LIMIT)
    now = 100.0
    for _ in range(8):
        now += 2 * LIMIT
        assert batching.admit(now) == now
        batching.pushed(now, now + LIMIT)
        now += LIMIT
    assert batching.admit(now) == pytest.approx(now + STEP)
    batching = Batching(LIMIT)
    run(batching, took=LIMIT)
    batching.pushed(100.0, 100.0)
    assert batching.admit(100.0) == pytest.approx(100.0 + STEP), "there is little to do by now"


def test_nothing_waits_without_a_limit() -> None:
    assert run(Batching(0), took=1.0) == [0.0] * 8
