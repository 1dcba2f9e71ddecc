"""The size report: what it measures, and what it fails on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import size_report

DECORATED = '''
@decorator
def short() -> None:
    """Says

    much.
    """
    call()
'''


def function_of(lines: int) -> str:
    return "def function() -> None:\n" + "    call()\n" * (lines - 1)


def sizes_of(tmp_path: Path, source: str) -> list[size_report.Size]:
    path = tmp_path / "module.py"
    path.write_text(source)
    return list(size_report.measure(path, "module.py"))


def test_measures_the_file_and_each_function_without_decorators_and_docstring(tmp_path: Path) -> None:
    file, function = sizes_of(tmp_path, DECORATED)
    assert (file.lines, file.where) == (8, "module.py")
    assert (function.lines, function.where) == (2, "module.py:3 short")


@pytest.mark.parametrize(
    ("lines", "reported", "failed"),
    [(40, False, False), (41, True, False), (60, True, False), (61, True, True)],
)
def test_reports_above_the_aim_and_fails_above_the_cap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: int, reported: bool, failed: bool
) -> None:
    above = size_report.report(sizes_of(tmp_path, function_of(lines)))
    assert (above == 1) is failed
    assert ("module.py:1 function" in capsys.readouterr().out) is reported


def test_says_median_percentile_and_maximum() -> None:
    sizes = [size_report.Size(lines, "x", 300, 400) for lines in range(1, 11)]
    assert size_report.summary("files", sizes) == "10 files: median 6, p90 10, max 10 lines"
