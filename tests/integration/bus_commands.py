"""Runs commands of `sira bus` in this process, against the kernel that the environment names."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner

from sira_grpc.cli.app import app
from sira_grpc.cli.exits import ExitCode


def run(*arguments: str, stdin: bytes = b"", code: ExitCode = ExitCode.OK) -> tuple[str, str]:
    """Runs a command, expects its exit code, and returns what it printed on stdout and on stderr."""
    result = CliRunner().invoke(app, ["bus", *arguments], input=stdin)
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def bus(*arguments: str, stdin: bytes = b"") -> str:
    """Runs a command that succeeds and returns its stdout."""
    return run(*arguments, stdin=stdin)[0]


def data(*arguments: str) -> Any:
    """Runs a command that succeeds and returns the JSON it prints."""
    return json.loads(bus(*arguments, "-o", "json"))


def stream(*arguments: str, stdin: bytes = b"") -> list[dict[str, Any]]:
    """Runs a command that succeeds and returns the JSON that it prints line by line."""
    return [json.loads(line) for line in bus(*arguments, "-o", "json", stdin=stdin).splitlines()]


def refusal(*arguments: str, code: ExitCode) -> str:
    """Runs a command that fails, prints nothing on stdout and one line on stderr, and returns that line."""
    out, err = run(*arguments, code=code)
    assert out == ""
    assert err.startswith("sira: ")
    assert err.count("\n") == 1
    return err
