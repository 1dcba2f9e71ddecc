"""What a benchmark reckons."""

from __future__ import annotations

import pytest

from sira_grpc.cli.bus.benchmark import Load, percentile


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [
        ([], 0.5, 0.0),
        ([3.0], 0.99, 3.0),
        ([4.0, 1.0, 3.0, 2.0], 0.5, 3.0),
        ([float(n) for n in range(100)], 0.99, 99.0),
    ],
)
def test_percentiles(values: list[float], part: float, expected: float) -> None:
    assert percentile(values, part) == expected


@pytest.mark.parametrize(("records", "producers", "shares"), [(10, 3, [4, 3, 3]), (2, 3, [1, 1, 0]), (9, 1, [9])])
def test_producers_share_the_records(records: int, producers: int, shares: list[int]) -> None:
    load = Load(
        topic="t",
        subscription="s",
        records=records,
        size=8,
        batch=1,
        producers=producers,
        consumers=1,
        partitions=1,
        durability="disk",
        compression=None,
    )
    assert load.shares() == shares
