"""Contexts: the file, and which one a command talks to."""

from __future__ import annotations

from pathlib import Path

import pytest

from sira_grpc.cli.contexts import DEFAULT_ADDR, Context, ContextFile, choose, file_path
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

PROD = Context("sira.example.org:7400", ca_file="ca.pem", namespace="shop")
DEV = Context("127.0.0.1:7401")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with two contexts, of which prod is the current one."""
    path = tmp_path / "sira" / "config.yaml"
    ContextFile().put("prod", PROD).put("dev", DEV).save(path)
    return path


def test_what_is_saved_is_loaded(path: Path) -> None:
    assert ContextFile.load(path) == ContextFile("prod", {"prod": PROD, "dev": DEV})
    assert [each.name for each in path.parent.iterdir()] == ["config.yaml"]


def test_a_file_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert ContextFile.load(tmp_path / "none") == ContextFile()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[", "cannot be read"),
        ("- a", "must be a mapping with the keys"),
        ("other: 1", "must be a mapping with the keys"),
        ("contexts: [a]", "contexts: must be a mapping"),
        ("contexts: {a: b}", "contexts.a: must be a mapping"),
        ("contexts: {a: {adr: x}}", "contexts.a.adr: unknown key; known: addr"),
        ("contexts: {a: {addr: 1}}", "contexts.a.addr: must be text"),
    ],
)
def test_what_save_does_not_write_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(Failure) as refused:
        ContextFile.load(path)
    assert complaint in str(refused.value)
    assert refused.value.code is ExitCode.USAGE


def test_use_and_remove(path: Path) -> None:
    file = ContextFile.load(path)
    assert file.use("dev").current == "dev"
    assert file.remove("dev") == ContextFile("prod", {"prod": PROD})
    assert file.remove("prod").current == ""


def test_an_unknown_context_is_not_found(path: Path) -> None:
    file = ContextFile.load(path)
    for act in (file.get, file.use, file.remove):
        with pytest.raises(Failure, match="context 'x' is not there; known: dev, prod") as refused:
            act("x")
        assert refused.value.code is ExitCode.NOT_FOUND
    with pytest.raises(Failure, match="there are none"):
        ContextFile().get("x")


@pytest.mark.parametrize(
    ("addr", "name", "variables", "chosen"),
    [
        (None, None, {}, PROD),
        (None, "dev", {}, DEV),
        (None, None, {"SIRA_CONTEXT": "dev"}, DEV),
        (None, None, {"SIRA_ADDR": "h:1"}, Context("h:1")),
        (None, None, {"SIRA_CONTEXT": "dev", "SIRA_ADDR": "h:1"}, DEV),
        ("h:2", None, {"SIRA_CONTEXT": "dev", "SIRA_ADDR": "h:1"}, Context("h:2")),
        ("h:2", "prod", {}, Context("h:2", ca_file="ca.pem", namespace="shop")),
        (None, "dev", {"SIRA_NAMESPACE": "x", "SIRA_CA_FILE": "c"}, Context(DEV.addr, ca_file="c", namespace="x")),
    ],
)
def test_options_go_before_the_environment_and_that_before_the_file(
    path: Path, addr: str | None, name: str | None, variables: dict[str, str], chosen: Context
) -> None:
    assert choose(addr, name, {"SIRA_CONFIG": str(path), **variables}) == chosen


def test_without_anything_it_is_the_default(tmp_path: Path) -> None:
    assert choose(None, None, {"XDG_CONFIG_HOME": str(tmp_path)}) == Context(DEFAULT_ADDR)


def test_the_files_may_be_in_the_home_of_the_user() -> None:
    assert choose("h:1", None, {"SIRA_CONFIG": "/none", "SIRA_CA_FILE": "~/ca.pem"}).ca_file == str(
        Path.home() / "ca.pem"
    )


def test_where_the_file_is(tmp_path: Path) -> None:
    assert file_path({"SIRA_CONFIG": "x.yaml", "XDG_CONFIG_HOME": "y"}) == Path("x.yaml")
    assert file_path({"XDG_CONFIG_HOME": "y"}) == Path("y/sira/config.yaml")
    assert file_path({}) == Path.home() / ".config" / "sira" / "config.yaml"


@pytest.mark.parametrize(
    ("context", "plaintext"),
    [
        (Context("127.0.0.1:1"), True),
        (Context("127.9.9.9:1"), True),
        (Context("localhost:1"), True),
        (Context("[::1]:1"), True),
        (Context("unix:/run/sira"), True),
        (Context("10.0.0.1:1"), False),
        (Context("localhost.example.org:1"), False),
        (Context("127.0.0.1:1", ca_file="ca.pem"), False),
    ],
)
def test_plaintext_is_for_this_machine_only(context: Context, plaintext: bool) -> None:
    assert context.plaintext is plaintext
