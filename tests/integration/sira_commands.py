"""Runs commands in this process, against the kernel that the environment names."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner

from sira_grpc.cli.app import app
from sira_grpc.cli.exits import ExitCode


def run(*arguments: str, code: ExitCode = ExitCode.OK, given: str = "") -> tuple[str, str]:
    """Runs a command, expects its exit code, and returns what it printed on stdout and on stderr."""
    result = CliRunner().invoke(app, arguments, input=given)
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def sira(*arguments: str, given: str = "") -> str:
    """Runs a command that succeeds and returns its stdout."""
    return run(*arguments, given=given)[0]


def data(*arguments: str) -> Any:
    """Runs a command that succeeds and returns the JSON it prints."""
    return json.loads(sira(*arguments, "-o", "json"))


def refusal(*arguments: str, code: ExitCode, given: str = "") -> str:
    """Runs a command that fails, and returns its one line on stderr."""
    out, err = run(*arguments, code=code, given=given)
    assert (out, err.count("\n")) == ("", 1)
    return err
