"""What a command proves itself with: identity directories, files and tokens."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from sira_grpc.cli import credentials
from sira_grpc.cli.contexts import Context
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from tests.unit.cli import svid_files
from tests.unit.svid.authority import IDENTITY, NOW, Authority


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def jwt(path: Path, left: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + left}).encode()).decode().rstrip("=")
    path.write_text(f"e30.{claims}.c2ln\n")
    return f"e30.{claims}.c2ln"


def test_an_identity_directory_gives_the_material_and_the_name_of_the_kernel(
    tmp_path: Path, authority: Authority
) -> None:
    issued = svid_files.write(tmp_path / "me", authority)
    read = credentials.from_directory(tmp_path / "me", now=NOW)
    assert (read.identity, read.server_name, read.token) == (IDENTITY, "kernel.a.test", "")
    assert read.key == issued.key_pem
    assert read.roots
    assert read.chain
    assert "PRIVATE KEY" not in repr(read)


@pytest.mark.parametrize(
    ("start", "end", "complaint"),
    [
        (-7200, -3 * 3600 // 2, r"/me expired 1h ago: does the agent \(or kernel\) that renews it run\?"),
        (7200, 9000, r"/me is valid only in 2h: is the clock of this host right\?"),
    ],
)
def test_a_certificate_that_is_out_of_its_time_is_refused_before_anybody_is_called(
    tmp_path: Path, authority: Authority, start: float, end: float, complaint: str
) -> None:
    svid_files.write(tmp_path / "me", authority, start=start, end=end)
    with pytest.raises(Failure, match=complaint) as refused:
        credentials.from_directory(tmp_path / "me", now=NOW)
    assert str(refused.value).startswith(f"identity_dir: the certificate of {IDENTITY} in ")
    assert refused.value.code is ExitCode.REFUSED


def test_a_directory_that_is_none_is_named(tmp_path: Path, authority: Authority) -> None:
    with pytest.raises(Failure, match=r"identity_dir: .*none/svid\.pem") as missing:
        credentials.from_directory(tmp_path / "none", now=NOW)
    assert missing.value.code is ExitCode.USAGE
    svid_files.write(tmp_path / "me", authority)
    (tmp_path / "me" / "svid.pem").write_text("rubbish")
    with pytest.raises(Failure, match=r"me/svid\.pem: is no PEM certificate"):
        credentials.from_directory(tmp_path / "me", now=NOW)


def test_files_and_a_token_are_read(tmp_path: Path) -> None:
    (tmp_path / "ca").write_bytes(b"roots")
    token = jwt(tmp_path / "jwt", 60)
    read = credentials.load(Context("h:1", ca_file=str(tmp_path / "ca"), jwt_file=str(tmp_path / "jwt")))
    assert (read.roots, read.chain, read.token, read.server_name) == (b"roots", None, token, "")


@pytest.mark.parametrize(
    ("content", "code", "complaint"),
    [
        (None, ExitCode.USAGE, "jwt_file: .*No such file"),
        ("hello", ExitCode.USAGE, "jwt_file: .* holds no JWT-SVID$"),
        ("", ExitCode.REFUSED, "jwt_file: the token in .* expired 1m ago: have another issued"),
    ],
)
def test_a_token_that_cannot_be_used_is_not_repeated(
    tmp_path: Path, content: str | None, code: ExitCode, complaint: str
) -> None:
    path = tmp_path / "jwt"
    if content == "":
        jwt(path, -90)
    elif content is not None:
        path.write_text(content)
    with pytest.raises(Failure, match=complaint) as refused:
        credentials.read_token(str(path))
    assert refused.value.code is code


def test_an_agent_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"agent_socket: the identity agent at unix:.*/none gives no identity") as missing:
        credentials.load(Context("h:1", agent_socket=f"{tmp_path}/none"))
    assert missing.value.code is ExitCode.UNAVAILABLE
    assert "last error" not in str(missing.value)
    with pytest.raises(Failure, match="agent_socket: socket: 'tcp://h:1' must be the path") as wrong:
        credentials.load(Context("h:1", agent_socket="tcp://h:1"))
    assert wrong.value.code is ExitCode.USAGE
