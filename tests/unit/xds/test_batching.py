from __future__ import annotations

import pytest

from sira_grpc.xds.batching import SHARE, STEPS, Batching

LIMIT = 0.16
STEP = LIMIT / STEPS


def test_a_change_by_itself_is_pushed_at_once() -> None:
    batching = Batching(LIMIT)
    for now in (0.0, 1.0, 1.5, 1.5 + STEP):
        assert batching.admit(now) == now
        batching.pushed(now, now)


@pytest.mark.parametrize(
    ("took", "wait"), [(0.0, STEP), (STEP / 100, STEP), (STEP, SHARE * STEP), (LIMIT / 2, LIMIT), (10.0, LIMIT)]
)
def test_a_change_right_after_a_push_waits_the_longer_the_more_there_was_to_do(took: float, wait: float) -> None:
    batching = Batching(LIMIT)
    batching.pushed(1.0, 1.0 + took)
    assert batching.admit(1.0 + took) == pytest.approx(1.0 + took + wait)
    assert batching.admit(2.0 + took) == 2.0 + took


def test_nothing_waits_without_a_limit() -> None:
    batching = Batching(0)
    for _ in range(3):
        assert batching.admit(1.0) == 1.0
        batching.pushed(1.0, 1.0)
