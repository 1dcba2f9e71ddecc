"""`sira doctor` as a command, and how it looks at clocks."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sira.identity.v1.identity_service_pb2 import IssueJwtRequest, IssueJwtResponse
from typer.testing import CliRunner

from sira_grpc.cli.app import app
from sira_grpc.cli.contexts import Context, ContextFile
from sira_grpc.cli.doctor import clocks
from sira_grpc.cli.doctor.findings import Finding, Severity, wrong
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.output import Format, Printer
from sira_grpc.cli.session import Session
from tests.unit.cli import svid_files
from tests.unit.svid.authority import Authority

DAY = 86_400.0


def told(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return [(finding.severity, finding.subject, finding.finding) for finding in findings]


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Runs `sira doctor` in an environment without contexts. Returns its exit code, stdout and stderr."""
    for name in [name for name in os.environ if name.startswith(("SIRA_", "SPIFFE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SIRA_CONFIG", str(tmp_path / "config.yaml"))

    def run(*arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, ["doctor", *arguments])
        return result.exit_code, result.stdout, result.stderr

    return run


def test_nothing_wrong_is_exit_code_0(doctor: Callable[..., tuple[int, str, str]]) -> None:
    assert doctor() == (ExitCode.OK, "", "nothing is wrong\n")
    assert doctor("-o", "json")[:2] == (ExitCode.OK, "[]\n")


def test_what_is_wrong_is_a_line_each_and_exit_code_1(doctor: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = doctor("/nowhere")
    assert code == ExitCode.ERROR
    assert [line.split()[0] for line in out.splitlines()] == ["SEVERITY", "error"]
    assert err == "sira: something is wrong: 1 errors, 0 warnings\n"
    _, out, _ = doctor("/nowhere", "-o", "json")
    (finding,) = json.loads(out)
    assert (finding["severity"], finding["subject"], finding["remedy"]) == ("error", "/nowhere", "join or issue anew")


def test_a_file_of_contexts_that_cannot_be_read_is_a_finding(
    doctor: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("- a")
    code, out, _ = doctor("-o", "json")
    assert code == ExitCode.ERROR
    assert [each["subject"] for each in json.loads(out)] == [str(tmp_path / "config.yaml")]


def test_a_kernel_that_cannot_be_reached_is_a_note(doctor: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    authority = Authority(now=time.time(), end=365 * DAY)
    svid_files.write(tmp_path / "me", authority)
    ContextFile().put("a", Context("127.0.0.1:1", identity_dir=str(tmp_path / "me"))).save(tmp_path / "config.yaml")
    code, out, _ = doctor("-o", "json")
    assert code == ExitCode.OK
    assert [(each["severity"], each["subject"]) for each in json.loads(out)] == [("note", "127.0.0.1:1")]


class Kernel(Session):
    """A session with a kernel whose clock is some seconds ahead."""

    def __init__(self, ahead: float) -> None:
        super().__init__(Context("127.0.0.1:1"), Printer(Format.TABLE), 1.0)
        self._ahead = ahead

    def call(self, method: Any, request: Any, *, longer: float = 0) -> Any:
        assert isinstance(request, IssueJwtRequest)
        return IssueJwtResponse(issue_time=Timestamp(seconds=int(time.time() + self._ahead)))


@pytest.mark.parametrize(
    ("ahead", "findings"),
    [
        (0, []),
        (20, []),
        (-20, []),
        (3661, [(Severity.WARNING, "this host", "its clock is 1h behind that of 127.0.0.1:1")]),
        (-3661, [(Severity.WARNING, "this host", "its clock is 1h ahead of that of 127.0.0.1:1")]),
    ],
)
def test_clocks(ahead: float, findings: list[tuple[str, str, str]]) -> None:
    with Kernel(ahead) as session:
        assert told(list(clocks.inspect(session))) == findings


def test_notes_are_nothing_wrong() -> None:
    findings = [Finding(severity, "x", "y", "z") for severity in Severity]
    assert [finding.severity for finding in wrong(findings)] == [Severity.ERROR, Severity.WARNING]
