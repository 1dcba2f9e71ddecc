from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira_client import RetryPolicy, Settings, TlsFiles
from sira_client.backoff import Backoff


@given(st.integers(), st.integers(1, 30))
def test_back_off_doubles_up_to_the_longest_with_jitter(seed: int, times: int) -> None:
    backoff = Backoff(0.05, 2.0, Random(seed))
    for n in range(times):
        ceiling = min(2.0, 0.05 * 2**n)
        assert ceiling / 2 <= backoff.next() <= ceiling
    assert 5 < backoff.next(5.0) <= 7
    backoff.reset()
    assert backoff.next() <= 0.05


@pytest.mark.parametrize("name", ["default_timeout", "first_backoff", "longest_backoff"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_times_must_be_above_zero(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}: must be above 0"):
        Settings(**{name: value})  # type: ignore[arg-type]  # the names are those of times


def test_the_first_back_off_must_not_be_above_the_longest() -> None:
    with pytest.raises(ValueError, match="first_backoff: must not be above longest_backoff"):
        Settings(first_backoff=3)


def test_a_call_is_sent_once_at_least() -> None:
    with pytest.raises(ValueError, match="max_attempts"):
        RetryPolicy(max_attempts=0)


@pytest.mark.parametrize(
    ("idempotent", "expected"), [(True, True), (False, False), ({"/a/B"}, True), (("/a/C",), False)]
)
def test_only_what_is_declared_idempotent_is_replayed(idempotent: bool | set[str], expected: bool) -> None:
    assert RetryPolicy(idempotent=idempotent).may_replay("/a/B") is expected


def test_half_a_key_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="cert, key: must be given together"):
        TlsFiles(ca="ca.pem", cert="cert.pem")
