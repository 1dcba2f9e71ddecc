from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.times import duration, seconds, timestamp


@given(st.integers(0, 1 << 62))
def test_a_timestamp_is_exact(time_ns: int) -> None:
    assert timestamp(time_ns).ToNanoseconds() == time_ns


@given(st.integers(1, 86_400_000))
def test_seconds_and_durations_stand_for_each_other(milliseconds: int) -> None:
    assert duration(seconds(duration(milliseconds / 1000))) == duration(milliseconds / 1000)


def test_seconds() -> None:
    assert seconds(Duration(seconds=1, nanos=500_000_000)) == 1.5
    assert duration(0.1) == Duration(nanos=100_000_000)
