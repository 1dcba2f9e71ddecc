from __future__ import annotations

import pytest

from sira_grpc.xds.batching import STEPS, Batching

LIMIT = 0.16
STEP = LIMIT / STEPS


def test_a_change_by_itself_is_pushed_at_once() -> None:
    batching = Batching(LIMIT)
    for now in (0.0, 1.0, 1.5, 1.5 + 2 * STEP):
        assert batching.admit(now) == now
        batching.pushed(now)


def test_changes_that_come_at_once_after_a_push_wait_longer_and_longer_up_to_the_limit() -> None:
    batching = Batching(LIMIT)
    now, waits = 1.0, []
    batching.admit(now)
    batching.pushed(now)
    for _ in range(8):
        at = batching.admit(now)
        waits.append(at - now)
        now = at
        batching.pushed(now)
    assert waits == sorted(waits)
    assert waits[0] == pytest.approx(STEP)
    assert waits[-1] == pytest.approx(LIMIT)


def test_waits_become_short_again() -> None:
    batching = Batching(LIMIT)
    now = 1.0
    for _ in range(8):
        now = batching.admit(now)
        batching.pushed(now)
    for _ in range(8):
        now += LIMIT
        assert batching.admit(now) == now
        batching.pushed(now)
    assert batching.admit(now) == pytest.approx(now + STEP)


def test_nothing_waits_without_a_limit() -> None:
    batching = Batching(0)
    for _ in range(3):
        assert batching.admit(1.0) == 1.0
        batching.pushed(1.0)
