"""What one caller may use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.config import LimitsConfig
from sira_grpc.errors import LimitExceeded
from sira_grpc.rpc.call import Call
from sira_grpc.rpc.interceptors import Limits
from sira_grpc.rpc.interceptors.limits import MAX_IDLE_CALLERS
from tests.clocks import FakeClock
from tests.unit.rpc.calls import made_call


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def entered(limits: Limits, caller: str, *, streams: bool = False) -> Call:
    call = made_call(caller=caller, streams=streams)
    limits.enter(call)
    return call


@pytest.mark.parametrize(("streams", "limit"), [(True, "max_streams_per_caller"), (False, "max_calls_per_caller")])
def test_calls_at_the_same_time_are_limited_for_each_caller(clock: FakeClock, streams: bool, limit: str) -> None:
    limits = Limits(LimitsConfig(max_streams_per_caller=2, max_calls_per_caller=2), clock)
    first = entered(limits, "a", streams=streams)
    entered(limits, "a", streams=streams)
    with pytest.raises(LimitExceeded) as caught:
        entered(limits, "a", streams=streams)
    assert caught.value.metadata == {"limit": limit, "value": "2", "caller": "a"}
    assert caught.value.retry_after == 1.0
    entered(limits, "a", streams=not streams)
    entered(limits, "b", streams=streams)
    limits.exit(first)
    entered(limits, "a", streams=streams)


def test_the_rate_is_a_bucket_that_refills(clock: FakeClock) -> None:
    limits = Limits(LimitsConfig(calls_per_second_per_caller=10, burst=3), clock)
    for _ in range(3):
        limits.exit(entered(limits, "a"))
    with pytest.raises(LimitExceeded) as caught:
        entered(limits, "a")
    assert caught.value.metadata["limit"] == "calls_per_second_per_caller"
    assert caught.value.retry_after == pytest.approx(0.1)
    clock.advance(0.15)
    entered(limits, "a")
    with pytest.raises(LimitExceeded) as caught:
        entered(limits, "a", streams=True)
    assert caught.value.retry_after == pytest.approx(0.05)
    clock.advance(1000)
    for _ in range(3):
        entered(limits, "a")
    with pytest.raises(LimitExceeded):
        entered(limits, "a")
    entered(limits, "b")


def test_a_refused_call_uses_nothing(clock: FakeClock) -> None:
    limits = Limits(LimitsConfig(max_calls_per_caller=1, calls_per_second_per_caller=2), clock)
    first = entered(limits, "a")
    for _ in range(5):
        with pytest.raises(LimitExceeded, match="max_calls_per_caller"):
            entered(limits, "a")
    limits.exit(first)
    entered(limits, "a")


def test_idle_callers_are_forgotten(clock: FakeClock) -> None:
    limits = Limits(LimitsConfig(), clock)
    calls = [entered(limits, f"caller-{index}") for index in range(10)]
    for call in calls:
        limits.exit(call)
    assert limits.callers == 0


def test_the_rates_of_so_many_idle_callers_are_remembered(clock: FakeClock) -> None:
    limits = Limits(LimitsConfig(calls_per_second_per_caller=1, burst=1), clock)
    busy = entered(limits, "busy")
    for index in range(MAX_IDLE_CALLERS + 1):
        limits.exit(entered(limits, f"caller-{index}"))
    assert limits.callers == MAX_IDLE_CALLERS + 1
    # The one that was idle longest has a fresh bucket, the others and the busy one theirs.
    limits.exit(entered(limits, "caller-0"))
    for caller in ("busy", f"caller-{MAX_IDLE_CALLERS}"):
        with pytest.raises(LimitExceeded):
            entered(limits, caller)
    limits.exit(busy)
    with pytest.raises(LimitExceeded):
        entered(limits, "busy")


@given(steps=st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.booleans()), max_size=60))
def test_no_caller_is_ever_over_its_limits(steps: list[tuple[str, bool, bool]]) -> None:
    limits = Limits(LimitsConfig(max_streams_per_caller=3, max_calls_per_caller=2), FakeClock())
    open_calls: list[Call] = []
    for caller, streams, begin in steps:
        mine = [call for call in open_calls if call.caller == caller and call.method.streams == streams]
        if not begin:
            if mine:
                limits.exit(mine[0])
                open_calls.remove(mine[0])
            continue
        full = len(mine) == (3 if streams else 2)
        try:
            open_calls.append(entered(limits, caller, streams=streams))
        except LimitExceeded:
            assert full
        else:
            assert not full
    assert limits.callers == len({call.caller for call in open_calls})
