"""`sira cluster` and a kernel: who is there, and the stream of what changes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from sira_grpc import __version__
from sira_grpc.cli.app import app
from sira_grpc.cli.exits import ExitCode
from tests.integration.sira_process import SiraProcess, dev


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with dev() as kernel:
        yield str(kernel.json()["addresses"][0])


@pytest.fixture(autouse=True)
def addressed(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIRA_ADDR", address)
    monkeypatch.delenv("SIRA_OUTPUT", raising=False)


def sira(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == ExitCode.OK, result.output
    return result.stdout


def test_status_as_data(address: str) -> None:
    cluster = json.loads(sira("cluster", "status", "-o", "json"))
    (member,) = cluster["members"]
    assert member["name"] == cluster["answeredBy"]
    assert (member["state"], member["version"]) == ("MEMBER_STATE_LIVE", __version__)
    assert member["addresses"] == [address]
    assert "cluster-members" in member["duties"]
    assert (cluster["store"]["engine"], cluster["store"]["writable"]) == ("sqlite", True)
    assert "members/" + json.loads(sira("status", "-o", "json"))["member"] == member["name"]


def test_status_as_tables(address: str) -> None:
    lines = [line.split() for line in sira("cluster", "status").splitlines()]
    assert lines[0][:2] == ["MEMBER", "STATE"]
    assert lines[1][1:3] == ["LIVE", __version__]
    assert address in lines[1]
    assert ["STORE", "sqlite,", "writable"] in lines


def test_a_watch_goes_on_until_it_is_interrupted() -> None:
    with SiraProcess("cluster", "watch") as watching:
        assert watching.line().split()[1:4:2] == ["member", "LIVE"]
        assert watching.line().split()[1:] == ["store", "sqlite", "writable"]
        assert watching.interrupt() == ExitCode.OK
        watching.chatter("stopped")


def test_a_watch_as_data_is_a_cluster_a_line() -> None:
    with SiraProcess("cluster", "watch", "-o", "json") as watching:
        assert watching.json()["cluster"]["members"][0]["state"] == "MEMBER_STATE_LIVE"
        assert watching.interrupt() == ExitCode.OK
