"""Contexts: the file, and which one a command talks to."""

from __future__ import annotations

from pathlib import Path

import pytest

from sira_grpc.cli.contexts import DEFAULT_ADDR, Context, ContextFile, choose, file_path, with_variables
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


FILES = Context("h:1", "ca", "cert", "key")
TOKEN = Context("h:1", "ca", jwt_file="jwt")
DIRECTORY = Context("h:1", identity_dir="dir")
AGENT = Context("h:1", agent_socket="unix:/agent")


@pytest.mark.parametrize(
    ("context", "variables", "secured"),
    [
        (FILES, {"SIRA_CLIENT_IDENTITY_DIR": "dir"}, DIRECTORY),
        (AGENT, {"SIRA_CLIENT_IDENTITY_DIR": "dir"}, DIRECTORY),
        (DIRECTORY, {"SIRA_CA_FILE": "ca", "SIRA_CERT_FILE": "cert", "SIRA_KEY_FILE": "key"}, FILES),
        (TOKEN, {"SIRA_CERT_FILE": "cert", "SIRA_KEY_FILE": "key"}, FILES),
        (FILES, {"SIRA_JWT_FILE": "jwt"}, TOKEN),
        (FILES, {"SIRA_CA_FILE": "mine"}, Context("h:1", "mine", "cert", "key")),
        # A socket that all programs of a host are told of is the last choice.
        (Context("h:1"), {"SPIFFE_ENDPOINT_SOCKET": "unix:/agent"}, AGENT),
        (DIRECTORY, {"SPIFFE_ENDPOINT_SOCKET": "unix:/agent"}, DIRECTORY),
        (FILES, {"SPIFFE_ENDPOINT_SOCKET": "unix:/agent"}, FILES),
        (Context("unix:/sira"), {"SPIFFE_ENDPOINT_SOCKET": "unix:/agent"}, Context("unix:/sira")),
    ],
)
def test_a_way_to_secure_a_connection_takes_the_place_of_another(
    context: Context, variables: dict[str, str], secured: Context
) -> None:
    assert with_variables(context, variables) == secured


@pytest.mark.parametrize(
    ("context", "problem"),
    [
        (Context(identity_dir="d", agent_socket="s"), "identity_dir and agent_socket exclude each other"),
        (Context(ca_file="c", identity_dir="d"), "ca_file and identity_dir exclude each other"),
        (Context(cert_file="c"), "cert_file and key_file go together"),
        (Context(cert_file="c", key_file="k", jwt_file="j"), "jwt_file and cert_file exclude each other"),
        (
            Context("unix:/s", identity_dir="d"),
            "identity_dir is of no use at unix:/s: a Unix socket of a kernel is plaintext",
        ),
        *((context, "") for context in (Context(), FILES, TOKEN, DIRECTORY, AGENT)),
    ],
)
def test_what_does_not_go_together(context: Context, problem: str) -> None:
    assert context.check() == problem


def test_what_does_not_go_together_is_named_before_anybody_is_called(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    ContextFile().put("half", Context(cert_file="c")).save(path)
    with pytest.raises(Failure, match="context half: cert_file and key_file go together") as refused:
        choose(None, None, {"SIRA_CONFIG": str(path)})
    assert refused.value.code is ExitCode.USAGE
    variables = {"SIRA_CLIENT_IDENTITY_DIR": "d", "SIRA_CA_FILE": "c"}
    with pytest.raises(Failure, match="the environment: ca_file and identity_dir exclude each other"):
        choose("h:1", None, {"SIRA_CONFIG": "/none", **variables})


@pytest.mark.parametrize(
    ("context", "transport"),
    [
        (Context(), "plaintext"),
        (Context("h:1"), "TLS"),
        (FILES, "mTLS"),
        (TOKEN, "TLS, JWT-SVID"),
        (DIRECTORY, "mTLS (SPIFFE)"),
        (AGENT, "mTLS (SPIFFE)"),
    ],
)
def test_transports(context: Context, transport: str) -> None:
    assert context.transport == transport


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
        (Context("127.0.0.1:1", identity_dir="d"), False),
        (Context("127.0.0.1:1", agent_socket="s"), False),
    ],
)
def test_plaintext_is_for_this_machine_only(context: Context, plaintext: bool) -> None:
    assert context.plaintext is plaintext
