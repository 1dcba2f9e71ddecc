"""`key=value` arguments."""

from __future__ import annotations

import pytest

from sira_grpc.cli import pairs
from sira_grpc.cli.failures import Failure


def test_reads_pairs_and_the_last_of_a_key_counts() -> None:
    assert pairs.parse(["a=1", "b=x=y", "c=", "a=2"]) == {"a": "2", "b": "x=y", "c": ""}


def test_none_are_none() -> None:
    assert pairs.parse(None) == {}


@pytest.mark.parametrize("pair", ["a", "=1", ""])
def test_refuses_what_is_no_pair(pair: str) -> None:
    with pytest.raises(Failure, match=r"^--metadata: .* must be key=value"):
        pairs.parse([pair])
