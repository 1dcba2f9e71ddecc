"""The coverage floor: lines and branches are judged apart."""

from __future__ import annotations

import pytest

from tools.coverage_floor import below_floor


@pytest.mark.parametrize(
    ("lines", "branches", "low"),
    [(90, 90, []), (89, 100, ["lines"]), (1000, 89, ["branches"]), (0, 0, ["lines", "branches"])],
)
def test_each_has_its_own_floor(lines: int, branches: int, low: list[str]) -> None:
    totals = {
        "covered_lines": lines,
        "num_statements": max(100, lines),
        "covered_branches": branches,
        "num_branches": 100,
    }
    assert below_floor(totals) == low


def test_code_without_branches_passes() -> None:
    totals = {"covered_lines": 1, "num_statements": 1, "covered_branches": 0, "num_branches": 0}
    assert below_floor(totals) == []
