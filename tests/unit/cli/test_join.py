"""Where a join token is taken from."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.identity.join import VARIABLE, read_secret

SECRETS = [f"{digit * 10}.{digit * 40}.{digit * 64}" for digit in "abc"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{SECRETS[1]}\n")
    return path


def test_an_option_goes_before_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {VARIABLE: SECRETS[2]}
    assert str(read_secret(SECRETS[0], None, environment)) == SECRETS[0]
    assert str(read_secret(None, file, environment)) == SECRETS[1]
    assert str(read_secret(None, None, environment)) == SECRETS[2]
    assert read_secret(None, None, {}) is None
    monkeypatch.setattr("sys.stdin", io.StringIO(SECRETS[0] + "\n"))
    assert str(read_secret(None, Path("-"), {})) == SECRETS[0]


def test_what_is_no_token_is_refused_and_not_repeated(file: Path) -> None:
    file.write_text("my secret")
    cases = [
        (("my secret", None, {}), "--token: is no join token"),
        ((None, file, {}), "--token-file: .*: is no join token"),
        ((None, file.parent / "none", {}), "--token-file: .*No such file"),
        ((None, None, {VARIABLE: "my secret"}), f"{VARIABLE}: is no join token"),
        ((SECRETS[0], file, {}), "exclude each other"),
    ]
    for (token, path, environment), complaint in cases:
        with pytest.raises(Failure, match=complaint) as refused:
            read_secret(token, path, environment)
        assert refused.value.code is ExitCode.USAGE
        assert "my secret" not in str(refused.value)
