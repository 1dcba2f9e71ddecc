"""Regenerate-and-diff: what counts as stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import gen


def write(folder: Path, **contents: str) -> Path:
    for name, content in contents.items():
        path = folder / "sira" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


@pytest.mark.parametrize(
    ("made", "committed", "stale"),
    [
        ({"a": "1"}, {"a": "1"}, []),
        ({"a": "1"}, {"a": "2"}, ["sira/a.py"]),
        ({"a": "1", "b": "1"}, {"a": "1"}, ["sira/b.py"]),
        ({"a": "1"}, {"a": "1", "gone": "1"}, ["sira/gone.py"]),
    ],
)
def test_names_what_differs(tmp_path: Path, made: dict[str, str], committed: dict[str, str], stale: list[str]) -> None:
    assert gen.stale(write(tmp_path / "made", **made), write(tmp_path / "committed", **committed)) == stale


def test_caches_and_build_output_do_not_count(tmp_path: Path) -> None:
    for folder in ("__pycache__", "sira_protos.egg-info", "build/lib"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").touch()
    assert gen.files(tmp_path) == set()
