"""Spans of time as people write and read them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.cli import durations
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("30", 30), ("0", 0), ("1m30s", 90), ("2h", 7200), ("1d", 86400), ("1.5s", 1.5)],
)
def test_reads(text: str, seconds: float) -> None:
    assert durations.parse(text, "--wait") == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "5 s", "1m30", "1y", "s1"])
def test_refuses_and_names_the_option(text: str) -> None:
    with pytest.raises(Failure, match=r"^--wait: .*is no duration") as refused:
        durations.parse(text, "--wait")
    assert refused.value.code is ExitCode.USAGE


@given(st.integers(0, 10**6))
def test_what_is_told_is_never_more_than_it_was(seconds: int) -> None:
    told = durations.parse(durations.brief(timedelta(seconds=seconds)), "x").total_seconds()
    assert told <= seconds < 2 * told or seconds == told == 0


def test_a_time_that_is_yet_to_come_is_no_time_ago() -> None:
    assert durations.brief(timedelta(seconds=-5)) == "0s"


@given(st.integers(0, 10**9))
def test_what_is_told_exactly_can_be_read(milliseconds: int) -> None:
    span = timedelta(milliseconds=milliseconds)
    assert durations.parse(durations.exact(span), "x") == span
