"""The tree of commands: what it has, what it takes, and what needs no kernel."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from sira_grpc import __version__
from sira_grpc.agent import load as load_agent
from sira_grpc.cli.app import app
from sira_grpc.cli.contexts import Context, ContextFile
from sira_grpc.cli.exits import ExitCode

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"
COMMANDS = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
GROUPS = {str(group.name): group.typer_instance for group in app.registered_groups}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of contexts, which is not there yet."""
    path = tmp_path / "config.yaml"
    monkeypatch.setenv("SIRA_CONFIG", str(path))
    return path


def sira(*arguments: str, code: ExitCode = ExitCode.OK) -> str:
    """Runs a command, expects its exit code, and returns its stdout, or its stderr where it fails."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


def test_the_documentation_has_every_command() -> None:
    text = DOCS.read_text()
    missing = {name for name in COMMANDS | GROUPS.keys() if f"| `sira {name}` |" not in text}
    assert not missing


def test_the_documentation_has_every_command_of_a_group() -> None:
    rows = {line.split("`")[1]: line for line in DOCS.read_text().splitlines() if line.startswith("| `sira ")}
    for noun, group in GROUPS.items():
        assert group is not None
        commands = group.registered_commands
        names = {str(command.name or getattr(command.callback, "__name__", "")) for command in commands}
        names |= {str(inner.name) for inner in group.registered_groups}
        missing = {name for name in names if f"`{name}" not in rows[f"sira {noun}"]}
        assert not missing or "The same" in rows[f"sira {noun}"], noun


def test_the_configurations_that_the_documentation_shows_can_be_used(tmp_path: Path) -> None:
    context, agent = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (tmp_path / "config.yaml").write_text(context)
    assert ContextFile.load(tmp_path / "config.yaml").contexts["prod"].transport == "mTLS (SPIFFE)"
    (tmp_path / "agent.yaml").write_text(agent)
    assert len(load_agent(tmp_path / "agent.yaml").workloads) == 1


def test_what_is_heavy_is_imported_only_by_commands_that_need_it() -> None:
    heavy = ("grpc", "cryptography", "OpenSSL", "google.protobuf", "rich", "yaml", "msgspec", "jwt", "sira_client")
    code = f"import sys, sira_grpc.cli.app; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", sorted(COMMANDS | GROUPS.keys()))
def test_every_command_explains_itself(name: str) -> None:
    assert "Usage: " in sira(name, "--help")


@pytest.mark.parametrize("arguments", [["bogus"], ["resolve"], ["status", "-o", "xml"], ["services", "get"]])
def test_a_wrong_command_line_is_a_usage_error(arguments: list[str]) -> None:
    assert sira(*arguments, code=ExitCode.USAGE)


def test_version() -> None:
    assert sira("version") == f"sira {__version__}\n"
    assert json.loads(sira("version", "-o", "json")) == {"version": __version__, "python": platform.python_version()}


def test_options_may_stand_before_the_command_or_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(sira("-o", "json", "version"))["version"] == __version__
    assert yaml.safe_load(sira("-o", "json", "version", "-o", "yaml"))["version"] == __version__
    monkeypatch.setenv("SIRA_OUTPUT", "json")
    assert json.loads(sira("version"))["version"] == __version__


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("SIRA_OUTPUT", "xml", "SIRA_OUTPUT: 'xml' is none of table, json, yaml"),
        ("SIRA_TIMEOUT", "soon", "--timeout: 'soon' is no duration"),
        ("SIRA_TIMEOUT", "0", "--timeout: must be above 0"),
        ("SIRA_CONTEXT", "x", "context 'x' is not there"),
        ("SIRA_CA_FILE", "/nowhere/ca.pem", "ca_file: "),
        ("SIRA_CLIENT_IDENTITY_DIR", "/nowhere", "identity_dir: "),
        ("SIRA_CERT_FILE", "c", "the environment: cert_file and key_file go together"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    config: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(variable, value)
    code = ExitCode.NOT_FOUND if variable == "SIRA_CONTEXT" else ExitCode.USAGE
    assert complaint in sira("status", code=code)


def test_contexts_are_set_listed_used_and_deleted(config: Path) -> None:
    sira("context", "set", "prod", "--addr", "sira.example.org:7400", "--ca-file", "ca.pem", "-n", "shop")
    sira("context", "set", "prod", "--cert-file", "me.pem", "--key-file", "me.key")
    sira("context", "set", "dev", "--addr", "127.0.0.1:7400", "--ca-file", "ca.pem")
    sira("context", "set", "dev", "--ca-file", "", "--identity-dir", "/operator")
    sira("context", "use", "dev")
    prod = Context("sira.example.org:7400", "ca.pem", "me.pem", "me.key", namespace="shop")
    assert ContextFile.load(config) == ContextFile("dev", {"prod": prod, "dev": Context(identity_dir="/operator")})

    listed = json.loads(sira("context", "list", "-o", "json"))
    assert [(each["name"], each["current"], each["namespace"]) for each in listed] == [
        ("dev", True, "default"),
        ("prod", False, "shop"),
    ]
    rows = [line.split() for line in sira("context", "list").splitlines()[1:]]
    assert rows == [
        ["*", "dev", "127.0.0.1:7400", "default", "mTLS", "(SPIFFE)"],
        ["prod", "sira.example.org:7400", "shop", "mTLS"],
    ]
    sira("context", "set", "dev", "--identity-dir", "sira-agent")
    assert ContextFile.load(config).contexts["dev"].identity_dir == str(Path.cwd() / "sira-agent")
    sira("context", "delete", "dev")
    assert ContextFile.load(config) == ContextFile("", {"prod": prod})


def test_contexts_that_make_no_sense_change_nothing(config: Path) -> None:
    assert "is new and needs --addr" in sira("context", "set", "a", code=ExitCode.USAGE)
    half = sira("context", "set", "a", "--addr", "h:1", "--key-file", "k", code=ExitCode.USAGE)
    assert "go together" in half
    both = sira("context", "set", "a", "--addr", "h:1", "--ca-file", "c", "--identity-dir", "d", code=ExitCode.USAGE)
    assert "exclude each other" in both
    assert "is not there" in sira("context", "use", "a", code=ExitCode.NOT_FOUND)
    assert not config.exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["join", "h:1", "--dir", "d"], "--token: is missing"),
        (["join", "h:1", "--dir", "d", "--token", "t"], "--token: is no join token"),
        (["agent", "--config", "/nowhere/a.yaml"], "/nowhere/a.yaml: cannot be read"),
        (["show"], "DIR: name an identity directory"),
        (["federation", "set", "b.test", "--file", "/nowhere"], "--file: "),
        (["issue", "spiffe://A/b", "--dir", "d"], "NAME: "),
        (["issue", "spiffe://a/b", "--dir", "d", "--dns-name", "ö"], "--dns-name: "),
    ],
)
def test_a_command_about_identity_that_makes_no_sense(config: Path, arguments: list[str], complaint: str) -> None:
    assert complaint in sira("identity", *arguments, code=ExitCode.USAGE)


def test_a_token_for_the_agent_needs_somebody_to_join(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("kernel: ['127.0.0.1:1']\n")
    told = sira("identity", "agent", "--config", str(file), "--token", "t", code=ExitCode.USAGE)
    assert "--join: is missing" in told


@pytest.mark.parametrize("noun", ["namespaces", "services", "endpoints"])
def test_an_update_of_nothing_is_refused(config: Path, noun: str) -> None:
    assert "nothing to change: give --" in sira(noun, "update", "x/y", code=ExitCode.USAGE)


def test_a_kernel_that_is_not_there(config: Path) -> None:
    complaint = sira("--addr", "127.0.0.1:1", "status", code=ExitCode.UNAVAILABLE)
    assert complaint.startswith("sira: cannot reach a kernel at 127.0.0.1:1: ")
    assert complaint.count("\n") == 1


def test_a_configuration_is_checked_and_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "sira.yaml"
    file.write_text("server: {addresses: ['127.0.0.1:0']}\n")
    monkeypatch.setenv("SIRA_LOG_LEVEL", "error")
    shown = yaml.safe_load(sira("up", "--config", str(file), "--check"))
    assert shown["server"]["addresses"] == ["127.0.0.1:0"]
    assert shown["log"]["level"] == "error"
    assert shown["identity"]["enabled"] is True


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{server: {addresses: ['0.0.0.0:1']}, identity: {enabled: false}}", "'0.0.0.0:1' can be reached"),
        ("sever: {}", "sever: unknown key"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    file = tmp_path / "sira.yaml"
    file.write_text(content)
    assert complaint in sira("up", "--config", str(file), code=ExitCode.USAGE)


def test_development_stays_on_this_machine() -> None:
    assert "can be reached from other machines" in sira("dev", "--listen", "0.0.0.0:0", code=ExitCode.USAGE)
