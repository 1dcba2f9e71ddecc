"""The distributions of this repository are released together: one version, pinned by each other."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

import sira_grpc
from tools import gen

ROOT = Path(__file__).parents[3]
PROJECTS = ("pyproject.toml", "gen/python/pyproject.toml", "sdks/python/pyproject.toml")


def project(path: str) -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / path).read_text())["project"])


@pytest.mark.parametrize("path", PROJECTS)
def test_every_distribution_has_the_kernels_version(path: str) -> None:
    assert project(path)["version"] == sira_grpc.__version__


@pytest.mark.parametrize("path", PROJECTS)
def test_they_pin_each_other_exactly(path: str) -> None:
    ours = [requirement for requirement in project(path)["dependencies"] if requirement.startswith("sira-")]
    assert all(requirement.endswith(f"=={sira_grpc.__version__}") for requirement in ours), ours


def test_the_generated_package_has_the_project_file_it_is_generated_with() -> None:
    assert (ROOT / "gen/python/pyproject.toml").read_text() == gen.DISTRIBUTION.read_text()
