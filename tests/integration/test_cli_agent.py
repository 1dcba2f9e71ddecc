"""`sira identity agent` as a process, beside a kernel: it joins, serves, follows a rotation, and comes back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from sira_grpc.cli.exits import ExitCode
from tests.integration.sira_process import DEADLINE, SiraProcess, up

DOMAIN = "spiffe://sira.internal"


@dataclass(frozen=True)
class Running:
    """A kernel that runs, and a folder for an agent."""

    address: str
    tokens: str
    operator: str
    folder: Path

    def sira(self, *arguments: str, **more: str) -> str:
        """Runs a command as the operator, or with other variables, and returns its stdout."""
        own = more or {"SIRA_CLIENT_IDENTITY_DIR": self.operator}
        environment = {**os.environ, "SIRA_ADDR": self.address, "SIRA_CONFIG": "/nowhere", **own}
        command = [sys.executable, "-m", "sira_grpc", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=DEADLINE)
        assert done.returncode == ExitCode.OK, done.stderr
        return done.stdout

    def data(self, *arguments: str, **more: str) -> Any:
        return json.loads(self.sira("-o", "json", *arguments, **more))

    def agent(self, *arguments: str, token: str = "") -> SiraProcess:
        command = ("identity", "agent", "--config", str(self.folder / "agent.yaml"), "--dir", str(self.folder / "node"))
        variables = {"SIRA_JOIN_TOKEN": token} if token else {}
        return SiraProcess(*command, "-o", "json", *arguments, environment={"SIRA_LOG_LEVEL": "warning", **variables})


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with up(tmp_path, environment={"SIRA_IDENTITY_ROTATION_MIN_STAGE": "0"}) as kernel:
        ready = kernel.json()
        configuration = {
            "kernel": [ready["addresses"][0]],
            "socket": str(tmp_path / "agent.sock"),
            "workloads": [{"identity": "operator/me", "uid": os.getuid()}],
            "files": [{"identity": "ns/default/svc/checkout", "directory": str(tmp_path / "checkout")}],
        }
        (tmp_path / "agent.yaml").write_text(yaml.safe_dump(configuration))
        yield Running(ready["addresses"][0], ready["tokenAddresses"][0], ready["operatorDir"], tmp_path)
        assert kernel.interrupt() == ExitCode.OK


def test_an_agent_joins_gives_follows_a_rotation_and_comes_back(running: Running) -> None:
    delegated = ("--delegate", "operator/*", "--delegate", "checkout")
    token = running.sira("token", "create", "--identity", "node/*", *delegated).strip()
    socket = f"unix:{running.folder}/agent.sock"
    with running.agent("--join", running.tokens, "--name", "node/web-1", token=token) as agent:
        ready = agent.json()
        assert (ready["identity"], ready["socket"]) == (f"{DOMAIN}/node/web-1", socket)
        assert ready["directory"] == str(running.folder / "node")

        before = running.data("identity", "status", SPIFFE_ENDPOINT_SOCKET=socket)
        assert before["watchers"] == 1
        jwt = running.data("identity", "jwt", SPIFFE_ENDPOINT_SOCKET=socket)
        assert jwt["identity"] == f"{DOMAIN}/operator/me"

        running.sira("identity", "rotate", "--wait")
        (authority,) = running.data("identity", "status")["authorities"]
        assert authority["id"] != before["authorities"][0]["id"]
        for directory in ("checkout", "node"):
            held = running.data("identity", "show", str(running.folder / directory))
            assert held["verified"] is True
            assert authority["id"] in held["issuer"]
        assert agent.terminate() == ExitCode.OK
        assert agent.rest()[-1] == "stopped"

    with running.agent() as agent:  # without a token: it has an identity
        assert agent.json()["identity"] == f"{DOMAIN}/node/web-1"
        running.sira("tls", "revoke", "node/web-1")
        assert "join again, with a join token [" not in agent.chatter("sira: spiffe://")
        assert agent.wait() == ExitCode.REFUSED


def test_an_agent_that_cannot_begin_says_why(running: Running) -> None:
    with running.agent() as agent:
        assert "holds no identity; join, with a join token" in agent.chatter("sira: ")
        assert agent.wait() == ExitCode.REFUSED
    token = running.sira("token", "create", "--identity", "node/a").strip()
    with running.agent("--join", running.tokens, "--name", "node/b", token=token) as agent:
        assert "[IDENTITY_NOT_ALLOWED]" in agent.chatter("sira: ")
        assert agent.wait() == ExitCode.REFUSED
    with running.agent("--join", "127.0.0.1:1", token=token) as agent:
        assert "cannot connect to a kernel at 127.0.0.1:1" in agent.chatter("sira: ")
        assert agent.wait() == ExitCode.UNAVAILABLE
    shutil.rmtree(running.folder / "node", ignore_errors=True)
    (running.folder / "agent.yaml").write_text("kernel: []")
    with running.agent() as agent:
        assert "kernel: " in agent.chatter("sira: ")
        assert agent.wait() == ExitCode.USAGE
