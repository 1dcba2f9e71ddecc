"""What the test of the SDKs accepts as wheels, and which dependencies it calls the oldest."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tools import check_sdks as sdks


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one module in each package."""
    for source, package in ((Path("gen/python"), "sira"), (Path("sdks/python"), "sira_client")):
        (tmp_path / source / package).mkdir(parents=True)
        (tmp_path / source / package / "__init__.py").touch()
    monkeypatch.setattr(sdks, "ROOT", tmp_path)
    return tmp_path


def wheel(folder: Path, name: str, *paths: str) -> Path:
    path = folder / f"{name}-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for each in (*paths, f"{name}-0.1.0.dist-info/METADATA"):
            archive.writestr(each, "")
    return path


def test_complete_wheels_pass(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    protos = wheel(root, "sira_protos", "sira/__init__.py", "sira/py.typed")
    client = wheel(root, "sira_client", "sira_client/__init__.py", "sira_client/py.typed")
    sdks.check_wheels([client, protos])
    assert "sira_client-0.1.0-py3-none-any.whl: 2 files" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("paths", "problem"),
    [
        (["sira_client/py.typed"], "lacks sira_client/__init__.py"),
        (["sira_client/__init__.py"], "lacks sira_client/py.typed"),
        (["sira_client/__init__.py", "sira_client/py.typed", "sira_client/x.py"], "has no source for sira_client/x.py"),
    ],
)
def test_an_incomplete_wheel_is_refused(root: Path, paths: list[str], problem: str) -> None:
    with pytest.raises(SystemExit, match=problem):
        sdks.check_wheels([wheel(root, "sira_client", *paths)])


def test_a_module_shipped_twice_is_refused(root: Path) -> None:
    protos = wheel(root, "sira_protos", "sira/__init__.py", "sira/py.typed")
    client = wheel(root, "sira_client", "sira_client/__init__.py", "sira_client/py.typed", "sira/py.typed")
    with pytest.raises(SystemExit, match="ships what another wheel ships too: sira/py"):
        sdks.check_wheels([protos, client])


def test_the_oldest_dependencies_are_the_lower_ends_of_the_ranges(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\ndependencies = ["sira-protos==0.1.0", "grpcio>=1.76,<2", "protobuf>=6.31.1,<8"]\n')
    assert sdks.oldest(project) == ("grpcio==1.76", "protobuf==6.31.1")
