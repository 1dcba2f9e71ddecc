"""`sira why` on a cluster: each member knows its own clients, and every one is asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sira_grpc.cli.exits import ExitCode
from tests.integration.sira_commands import data, refusal, run, sira
from tests.integration.sira_process import SiraProcess
from tests.integration.xds_calls import XdsCaller, echo

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a cluster on this machine needs Linux")

KINDS = ["CLIENT_KIND_C_CORE"]
MIRROR = "mirror: {destination: {version: v2}, percent: 10}"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Two members; commands go to the first."""
    monkeypatch.setenv("SIRA_CONFIG", "/nowhere/config.yaml")
    where = ("--port", "0", "--dir", str(tmp_path / "cluster"))
    with SiraProcess("up", "-o", "json", "--cluster", *where) as running:
        ready = running.json()
        monkeypatch.setenv("SIRA_ADDR", ready["members"][0]["addresses"][0])
        monkeypatch.setenv("SIRA_CLIENT_IDENTITY_DIR", ready["operatorDir"])
        yield ready
        running.terminate()


def test_a_client_of_another_member_is_found(cluster: dict[str, Any], tmp_path: Path) -> None:
    identity, file = str(tmp_path / "identity"), str(tmp_path / "b.json")
    sira("identity", "issue", "frontend", "--dir", identity)
    elsewhere = cluster["members"][1]["addresses"][0]
    made = sira("bootstrap", "--identity", identity, "--server", elsewhere, "--file", file, "-o", "json")
    with (
        echo() as port,
        SiraProcess("register", "checkout", f"127.0.0.1:{port}", "-o", "json", "--drain", "0") as endpoint,
        XdsCaller("xds:///checkout", json.loads(made)["environment"]) as caller,
    ):
        endpoint.json()
        assert caller.call() == "OK"
        (client,) = data("why")
        out, err = run("why", "frontend", "checkout")
        assert (client["node"] in out, err) == (True, "")
        assert client["member"] != data("status")["member"]
        while [each.get("clientKinds") for each in data("cluster", "status")["members"]].count(KINDS) < 1:
            pass  # a heartbeat says it
        told = refusal("policy", "apply", "checkout", "-f", "-", given=MIRROR, code=ExitCode.CONFLICT)
        assert "service.traffic_policy.mirror: clients of the kind C_CORE are connected" in told
