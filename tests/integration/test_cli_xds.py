"""The commands that steer traffic, against a kernel that runs and a plain gRPC client that they steer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from sira_grpc.cli.exits import ExitCode
from tests.integration.sira_commands import data, refusal, run, sira
from tests.integration.sira_process import SiraProcess, dev
from tests.integration.xds_calls import XdsCaller, echo

NUMBERS = count(1)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a kernel is."""
    with dev() as kernel:
        yield kernel.json()["addresses"][0]
        assert kernel.interrupt() == ExitCode.OK


@pytest.fixture(autouse=True)
def namespace(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Lets commands talk to the kernel, each test in a namespace of its own."""
    monkeypatch.setenv("SIRA_ADDR", address)
    monkeypatch.setenv("SIRA_CONFIG", "/nowhere/config.yaml")
    name = f"test-{next(NUMBERS)}"
    sira("namespaces", "create", name)
    monkeypatch.setenv("SIRA_NAMESPACE", name)
    return name


def test_a_split_goes_to_versions_that_are_there() -> None:
    sira("services", "create", "checkout")
    complaint = refusal("policy", "split", "checkout", "v1=90", "v2=10", code=ExitCode.CONFLICT)
    assert "has the version v1: calls would fail" in complaint
    options = ("--version", "v1", "-o", "json", "--drain", "0")
    with SiraProcess("register", "checkout", "127.0.0.1:9000", *options) as registered:
        registered.json()
        assert "split v1 100%" in sira("policy", "split", "checkout", "v1=90", "v2=0")
        assert "version v2" in refusal("policy", "split", "checkout", "v1=90", "v2=10", code=ExitCode.CONFLICT)
        assert "split v1 90%, v2 10%" in sira("policy", "split", "checkout", "v1=90", "v2=10", "--force")
    assert data("policy", "split", "checkout", "--off") == {"trafficPolicy": {}}
    assert "give either" in refusal("policy", "split", "checkout", code=ExitCode.USAGE)
    assert "give either" in refusal("policy", "split", "checkout", "v1=1", "--off", code=ExitCode.USAGE)


@pytest.fixture
def caller(namespace: str, tmp_path: Path) -> Iterator[XdsCaller]:
    """A client that runs for the service `frontend`, of the service `checkout`, which has one endpoint."""
    told = json.loads(sira("bootstrap", "--service", "frontend", "--file", str(tmp_path / "b.json"), "-o", "json"))
    with (
        echo() as port,
        SiraProcess("register", "checkout", f"127.0.0.1:{port}", "--id", "a", "-o", "json", "--drain", "0") as endpoint,
        XdsCaller("xds:///checkout", told["environment"]) as made,
    ):
        endpoint.json()
        yield made


def test_why_tells_what_a_client_was_sent(namespace: str, caller: XdsCaller) -> None:
    assert caller.call() == "OK"
    (client,) = [each for each in data("why") if each["service"].startswith(f"namespaces/{namespace}/")]
    assert (client["kind"], client["resources"], client["rejected"]) == ("CLIENT_KIND_C_CORE", 4, 0)
    assert client["node"] in sira("why")
    for name in ("frontend", client["node"], client["service"]):
        (explained,) = data("why", name, "checkout")
        assert {each["state"] for each in explained["resources"]} == {"RESOURCE_STATE_ACKNOWLEDGED"}
        assert (explained["notSubscribed"], explained["limits"]) == ([], [])
    told = sira("why", "frontend", "checkout")
    order = ["Listener", "RouteConfiguration", "Cluster", "ClusterLoadAssignment"]
    assert [line.split()[0] for line in told.splitlines()[2:6]] == order
    assert "ACKNOWLEDGED" in told


def test_why_tells_what_a_client_does_not_do_or_has_not_asked_for(caller: XdsCaller) -> None:
    assert caller.call() == "OK"
    sira("services", "update", "checkout", "--lb-policy", "least-request")
    assert "not done by c-core: service.traffic_policy.lb_policy: it is ROUND_ROBIN" in sira(
        "why", "frontend", "checkout"
    )
    out, err = run("why", "frontend", "other")
    assert "not subscribed: no Listener, RouteConfiguration, Cluster, ClusterLoadAssignment of other." in out
    assert "is not there" in err
    assert "`sira why` lists them" in refusal("why", "nobody", code=ExitCode.NOT_FOUND)
    mirror = '{"mirror": {"percent": 1, "destination": {"version": "v1"}}}'
    refused = run("policy", "apply", "checkout", "-f", "-", code=ExitCode.CONFLICT, given=mirror)[1]
    assert "[POLICY_NOT_SUPPORTED]" in refused
