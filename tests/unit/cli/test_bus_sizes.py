"""Sizes as people write and read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.cli.bus import sizes
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("64KiB", 64 << 10),
        ("64k", 64 << 10),
        ("1.5 MB", 3 << 19),
        ("2G", 2 << 30),
        ("1TiB", 1 << 40),
    ],
)
def test_reads(text: str, size: int) -> None:
    assert sizes.parse(text, "--max-bytes") == size


@pytest.mark.parametrize("text", ["", "B", "-1", "1 2", "1X", "MiB", "1.M"])
def test_refuses_and_names_the_option(text: str) -> None:
    with pytest.raises(Failure, match=r"^--max-bytes: .* is no size") as refused:
        sizes.parse(text, "--max-bytes")
    assert refused.value.code is ExitCode.USAGE


def test_what_is_small_is_told_to_the_byte() -> None:
    assert [sizes.brief(size) for size in (0, 1023, 1024, 3 << 19)] == ["0 B", "1023 B", "1.0 KiB", "1.5 MiB"]


@given(st.integers(0, 1 << 50))
def test_what_is_told_can_be_read(size: int) -> None:
    assert abs(sizes.parse(sizes.brief(size), "x") - size) <= size * 0.05
