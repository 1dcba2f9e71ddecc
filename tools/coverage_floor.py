"""Fails if the tests reached less than the floor of the kernel's lines, or of its branches.

coverage.py's own fail_under mixes the two into one figure, in which many lines can hide few branches.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

FLOOR_PERCENT = 90.0


def below_floor(totals: Mapping[str, int]) -> list[str]:
    """Prints both shares and returns the names of those below the floor.

    Args:
        totals: `totals` of coverage.py's JSON report, made with branches.
    """
    low = []
    for kind, covered, all_of_them in (
        ("lines", totals["covered_lines"], totals["num_statements"]),
        ("branches", totals["covered_branches"], totals["num_branches"]),
    ):
        percent = 100 * covered / all_of_them if all_of_them else 100.0
        print(f"{kind}: {covered} of {all_of_them}, {percent:.1f}%")
        if percent < FLOOR_PERCENT:
            low.append(kind)
    return low


def main() -> None:
    """Entry point: the path of the JSON report is the one argument."""
    low = below_floor(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["totals"])
    if low:
        raise SystemExit(f"coverage of {' and '.join(low)} is below {FLOOR_PERCENT:.0f}%")


if __name__ == "__main__":
    main()
