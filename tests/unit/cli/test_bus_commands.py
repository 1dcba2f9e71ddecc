"""The commands of the bus: what needs no kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sira_grpc.cli.app import app
from sira_grpc.cli.bus import app as bus
from sira_grpc.cli.exits import ExitCode

COMMANDS = sorted(
    str(command.name or command.callback.__name__) for command in bus.registered_commands if command.callback
)
GROUPS = {str(group.name): group.typer_instance for group in bus.registered_groups}
NESTED = sorted(
    f"{noun} {command.name}" for noun, group in GROUPS.items() if group for command in group.registered_commands
)


@pytest.fixture(autouse=True)
def nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets commands look for a kernel where there is none."""
    monkeypatch.setenv("SIRA_CONFIG", "/nowhere/config.yaml")
    monkeypatch.setenv("SIRA_ADDR", "127.0.0.1:1")


def sira(*arguments: str, code: ExitCode) -> str:
    result = CliRunner().invoke(app, ["bus", *arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize("command", [*COMMANDS, *GROUPS, *NESTED])
def test_every_command_explains_itself(command: str) -> None:
    assert "Usage: " in sira(*command.split(), "--help", code=ExitCode.OK)


@pytest.mark.parametrize(
    "arguments",
    [
        ["topics"],
        ["topics", "orders.>"],
        ["topics", "-o", "json"],
        ["subs", "-n", "shop"],
        ["dlq", "billing", "--key", "k"],
        ["topics", "list"],
        ["pub", "orders", "x"],
        ["sub", "billing"],
        ["tail", "orders"],
        ["replay", "orders"],
        ["lag"],
        ["redrive", "billing"],
        ["verify", "--all"],
    ],
)
def test_a_kernel_that_is_not_there_is_told_at_once(arguments: list[str]) -> None:
    assert "cannot reach a kernel at 127.0.0.1:1" in sira(*arguments, code=ExitCode.UNAVAILABLE)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["topics", "create", "t", "--max-age", "soon"], "--max-age: 'soon' is no duration"),
        (["topics", "create", "t", "--max-bytes", "much"], "--max-bytes: 'much' is no size"),
        (["topics", "set", "t"], "nothing to change: give --"),
        (["subs", "set", "s"], "nothing to change: give --"),
        (["subs", "create", "s", "--topic", "t", "--start", "0@1"], "--start: '0@1' must name the topic too"),
        (["subs", "seek", "s", "somewhere"], "POSITION: 'somewhere' is none of"),
        (["pub", "t", "x", "--lines"], "--lines: goes with stdin or --file"),
        (["pub", "t", "x", "--file", "f"], "PAYLOAD and --file exclude each other"),
        (["pub", "t", "--lines", "--id", "i"], "--id: goes with one record only"),
        (["pub", "t", "x", "--count", "2", "--id", "i"], "--id: goes with one record only"),
        (["pub", "t", "x", "--delay", "1s", "--deliver-at", "+1s"], "--deliver-at and --delay exclude each other"),
        (["pub", "t", "x", "--header", "h"], "--header: 'h' must be key=value"),
        (["pub", "t", "x", "--ttl", "soon"], "--ttl: 'soon' is no duration"),
        (["sub", "s", "--exec", "true", "--no-ack"], "--exec and --no-ack exclude each other"),
        (["tail", "a", "b", "--from", "0@1"], "--from: '0@1' must name the topic too"),
        (["replay", "t", "--wait", "0"], "--wait: must be above 0"),
        (["lag", "--every", "0"], "--every: must be above 0"),
        (["dlq", "purge", "s"], "--yes: is missing; --dry-run says"),
        (["redrive", "s", "--after", "soon"], "--after: 'soon' is no time"),
        (["verify"], "TOPIC or --all: exactly one"),
        (["verify", "t", "--all"], "TOPIC or --all: exactly one"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(arguments: list[str], complaint: str) -> None:
    assert complaint in sira(*arguments, code=ExitCode.USAGE)


@pytest.mark.parametrize(
    "arguments",
    [
        ["topics", "crate", "t"],
        ["subs", "create", "s"],
        ["dlq"],
        ["topics", "create", "t", "--partitions", "0"],
        ["bench", "--size", "7"],
        ["redrive", "s", "--limit", "10001"],
        ["dlq", "show", "s", "x"],
    ],
)
def test_a_wrong_command_line_is_a_usage_error(arguments: list[str]) -> None:
    assert "Usage: " in sira(*arguments, code=ExitCode.USAGE)


def test_the_documentation_has_every_command() -> None:
    text = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
    missing = {name for name in [*COMMANDS, *GROUPS] if f"| `sira bus {name}` |" not in text}
    assert not missing
