"""The check for breaking changes: which tag it compares with, and what was there then."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import check_protos, fetch_protos


def git(repository: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=repository, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "proto").mkdir(parents=True)
    (folder / "proto" / "x.proto").write_text("then")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "First")
    return folder


def test_without_a_tag_there_is_none(repository: Path) -> None:
    assert check_protos.last_tag(repository) is None


def test_outside_a_repository_there_is_none(tmp_path: Path) -> None:
    assert check_protos.last_tag(tmp_path) is None


def test_the_protos_of_the_tag_are_compared_with(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    third_party = tmp_path / "third_party"
    third_party.mkdir()
    (third_party / "vendored.proto").touch()
    monkeypatch.setattr(fetch_protos, "TARGET", third_party)
    git(repository, "tag", "v0.1.0")
    (repository / "proto" / "x.proto").write_text("now")
    git(repository, "commit", "--quiet", "--all", "-m", "Second")

    assert check_protos.last_tag(repository) == "v0.1.0"
    protos = check_protos.extract_protos(repository, "v0.1.0", tmp_path / "against")
    assert (protos / "x.proto").read_text() == "then"
    assert (protos / "third_party" / "vendored.proto").exists()
