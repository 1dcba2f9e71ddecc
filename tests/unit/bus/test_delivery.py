from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.bus.delivery import RetryRule

SECONDS = st.floats(0, 86_400)


@pytest.mark.parametrize(("attempt", "delay"), [(1, 1.0), (2, 2.0), (3, 4.0), (10, 512.0)])
def test_the_delay_doubles_and_varies_by_a_fifth(attempt: int, delay: float) -> None:
    rule = RetryRule(max_deliveries=20, min_backoff=1.0, max_backoff=600.0)
    delays = [rule.delay(attempt, random.Random(seed)) for seed in range(200)]
    assert delay * 0.8 <= min(delays) < delay * 0.85
    assert delay * 1.15 < max(delays) <= min(600.0, delay * 1.2)


@given(st.integers(1, 1000), SECONDS, SECONDS, st.integers())
def test_the_delay_is_bounded_whatever_the_attempt(attempt: int, low: float, high: float, seed: int) -> None:
    delay = RetryRule(1000, low, high).delay(attempt, random.Random(seed))
    assert 0.8 * min(low, high) <= delay <= high


def test_at_last_the_delay_is_about_the_longest() -> None:
    delays = {RetryRule(1000, 1e-9, 600.0).delay(1000, random.Random(seed)) for seed in range(100)}
    assert min(delays) >= 480.0
    assert max(delays) == 600.0


def test_no_delay_stays_none() -> None:
    rule = RetryRule(1000, 0.0, 600.0)
    assert [rule.delay(attempt, random.Random(1)) for attempt in (1, 7, 1000)] == [0.0, 0.0, 0.0]
