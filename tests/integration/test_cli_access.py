"""The commands that say who may call whom, against a kernel that gives identities."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from sira_grpc.cli.exits import ExitCode
from tests.integration.sira_commands import data, refusal, run, sira
from tests.integration.sira_process import SiraProcess, up
from tests.integration.xds_calls import XdsCaller, echo

NUMBERS = count(1)
EVERYTHING = ["trafficPolicy", "accessPolicy"]


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of an operator of a kernel."""
    with up(tmp_path_factory.mktemp("kernel")) as kernel:
        ready = kernel.json()
        yield {
            "SIRA_ADDR": ready["addresses"][0],
            "SIRA_CLIENT_IDENTITY_DIR": ready["operatorDir"],
            "SIRA_CONFIG": "/nowhere/config.yaml",
        }
        assert kernel.interrupt() == ExitCode.OK


@pytest.fixture(autouse=True)
def namespace(operator: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Lets commands talk to the kernel, each test in a namespace of its own."""
    for name, value in operator.items():
        monkeypatch.setenv(name, value)
    name = f"test-{next(NUMBERS)}"
    sira("namespaces", "create", name)
    monkeypatch.setenv("SIRA_NAMESPACE", name)
    return name


def test_who_may_call_is_said_and_taken_back(namespace: str) -> None:
    sira("services", "create", "checkout")
    assert "--mutual-tls turns it on" in refusal("allow", "frontend", "checkout", code=ExitCode.CONFLICT)
    assert "everybody may call" in refusal("deny", "frontend", "checkout", code=ExitCode.CONFLICT)
    out, err = run("allow", "frontend", "checkout", "--mutual-tls")
    assert (f"{namespace}/frontend" in out, err) == (True, f"mutual TLS is on for {namespace}/checkout\n")
    sira("allow", "frontend", "->", "checkout")
    sira("allow", "shop/*", "to", "checkout", "--method", "/a.B/C", "--method", "/a.B/D")
    sira("allow", "*/*", "checkout", "--method", "/grpc.health.v1.Health/*")
    rules = data("policy", "get", "checkout")["accessPolicy"]["allow"]
    assert rules == [
        {"sources": [f"namespaces/{namespace}/services/frontend"]},
        {"sources": ["namespaces/shop/services/-"], "methods": ["/a.B/C", "/a.B/D"]},
        {"sources": ["namespaces/-/services/-"], "methods": ["/grpc.health.v1.Health/*"]},
    ]
    sira("deny", "shop/*", "checkout", "--method", "/a.B/C")
    assert "it may call everything" in refusal(
        "deny", "frontend", "checkout", "--method", "/a.B/C", code=ExitCode.CONFLICT
    )
    assert "may call all the same: */* may" in refusal("deny", "other", "checkout", code=ExitCode.CONFLICT)
    assert "no rule" in refusal("deny", "other", "checkout", "--method", "/a.B/C", code=ExitCode.NOT_FOUND)
    for source in ("frontend", "shop/*", "*/*"):
        out, err = run("deny", source, "checkout")
        assert ("may call it all the same, or some of it: */* may" in err) == (source != "*/*")
    assert err.startswith("nobody may call")
    assert data("policy", "get", "checkout")["accessPolicy"] == {}
    assert "MAY CALL   nobody" in sira("policy", "get", "checkout")
    assert "service.access_policy: needs traffic_policy.tls" in refusal(
        "policy", "clear", "checkout", code=ExitCode.USAGE
    )
    assert "MAY CALL   all" in sira("policy", "clear", "checkout", "--access")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["frontend"], "must be two names"),
        (["frontend", "-"], "quote '->'"),
        (["a", "b", "c"], "must be two names"),
        (["*", "checkout"], "may be test-"),
        (["a", "checkout", "--method", "x"], "methods"),
        (["a/b/c", "checkout", "--mutual-tls"], "sources"),
        (["a", "checkout", "--metod", "/a.B/C"], "must be two names"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(arguments: list[str], complaint: str) -> None:
    sira("services", "create", "checkout", "--tls", "mutual")
    assert complaint in refusal("allow", *arguments, code=ExitCode.USAGE)
    assert "accessPolicy" not in data("policy", "get", "checkout")


def test_policies_are_documents(tmp_path: Path) -> None:
    sira("services", "create", "checkout", "--call-timeout", "2s", "--tls", "mutual", "--lb-policy", "orca-weighted")
    sira("allow", "frontend", "checkout")
    written = sira("policy", "get", "checkout", "-o", "yaml")
    before = data("policy", "get", "checkout")
    assert list(before) == EVERYTHING
    path = tmp_path / "policy.yaml"
    path.write_text(written)
    sira("policy", "clear", "checkout", "--access")
    assert data("policy", "get", "checkout") == {}
    assert "at most 2s, mutual TLS" in sira("policy", "apply", "checkout", "-f", str(path))
    assert data("policy", "get", "checkout") == before
    sira("policy", "apply", "checkout", "-f", "-", given="tls: TLS_MODE_MUTUAL\ntimeout: 3s")
    assert data("policy", "get", "checkout") == {**before, "trafficPolicy": {"timeout": "3s", "tls": "TLS_MODE_MUTUAL"}}
    assert "[ETAG_MISMATCH]" in refusal(
        "policy", "apply", "checkout", "-f", str(path), "--etag", "1", code=ExitCode.CONFLICT
    )
    path.write_text("timeout: 0s")
    assert "service.traffic_policy.timeout" in refusal(
        "policy", "apply", "checkout", "-f", str(path), code=ExitCode.USAGE
    )
    assert "[SERVICE_NOT_FOUND]" in refusal("policy", "get", "none", code=ExitCode.NOT_FOUND)


def test_a_plain_client_is_who_its_identity_says(namespace: str, tmp_path: Path) -> None:
    identity = str(tmp_path / "identity")
    sira("identity", "issue", "frontend", "--dir", identity)
    file = str(tmp_path / "b.json")
    told = json.loads(sira("bootstrap", "--identity", identity, "--file", file, "-o", "json"))
    with (
        echo() as port,
        SiraProcess("register", "checkout", f"127.0.0.1:{port}", "-o", "json", "--drain", "0") as endpoint,
        XdsCaller("xds:///checkout", told["environment"]) as caller,
    ):
        endpoint.json()
        assert caller.call() == "OK"
        (client,) = data("why")
        assert client["identity"].endswith(f"/ns/{namespace}/svc/frontend")
        assert client["service"] == f"namespaces/{namespace}/services/frontend"
        (explained,) = data("why", client["identity"], "checkout")
        assert len(explained["resources"]) == 4


def test_who_clients_are_is_for_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sira("identity", "issue", "frontend", "--dir", str(tmp_path))
    monkeypatch.setenv("SIRA_CLIENT_IDENTITY_DIR", str(tmp_path))
    assert "[PERMISSION_DENIED]" in refusal("why", code=ExitCode.REFUSED)
