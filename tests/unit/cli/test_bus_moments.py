"""Points in time as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from sira_grpc.cli.bus import moments
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

NOW = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-31T10:00:00Z", NOW),
        ("2026-01-31T12:00:00+02:00", NOW),
        ("2026-01-31T10:00", NOW),
        ("2026-01-31", NOW - timedelta(hours=10)),
        ("-10m", NOW - timedelta(minutes=10)),
        ("1h30m", NOW - timedelta(minutes=90)),
        ("+500ms", NOW + timedelta(seconds=0.5)),
    ],
)
def test_reads(text: str, time: datetime) -> None:
    assert moments.parse(text, "--after", NOW) == time


def test_a_zone_is_kept() -> None:
    assert moments.parse("2026-01-31T12:00:00+02:00", "x").tzinfo == timezone(timedelta(hours=2))


@pytest.mark.parametrize("text", ["", "soon", "10", "-10", "10 m", "2026-13-01", "--10m"])
def test_refuses_and_names_the_option(text: str) -> None:
    with pytest.raises(Failure, match=r"^--after: .* is no time") as refused:
        moments.parse(text, "--after", NOW)
    assert refused.value.code is ExitCode.USAGE
