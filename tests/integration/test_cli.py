"""The `sira` command against a kernel that runs: what it changes, what it shows, and how it fails."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from sira_client import connect_insecure
from typer.testing import CliRunner

from sira_grpc import __version__
from sira_grpc.cli.app import app
from sira_grpc.cli.exits import ExitCode
from tests.integration.sira_process import DEADLINE, SiraProcess, dev

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
    sira("namespaces", "create", name, "--description", "of a test")
    monkeypatch.setenv("SIRA_NAMESPACE", name)
    return name


def run(*arguments: str, code: ExitCode = ExitCode.OK) -> tuple[str, str]:
    """Runs a command, expects its exit code, and returns what it printed on stdout and on stderr."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def sira(*arguments: str) -> str:
    """Runs a command that succeeds and returns its stdout."""
    return run(*arguments)[0]


def data(*arguments: str) -> Any:
    """Runs a command that succeeds and returns the JSON it prints."""
    return json.loads(sira(*arguments, "-o", "json"))


def refusal(*arguments: str, code: ExitCode) -> str:
    """Runs a command that fails, prints nothing on stdout and one line on stderr, and returns that line."""
    out, err = run(*arguments, code=code)
    assert out == ""
    assert err.startswith("sira: ")
    assert err.count("\n") == 1
    return err


def registered(*arguments: str) -> SiraProcess:
    """Registers an endpoint of the service `checkout` and returns once it is there."""
    process = SiraProcess("register", "checkout", *arguments, "-o", "json", "--drain", "0")
    assert process.json()["name"].endswith("/services/checkout/endpoints/a")
    return process


def test_status(address: str) -> None:
    status = data("status")
    assert status["version"] == __version__
    assert status["addresses"] == [address]
    assert "sqlite, writable" in sira("status")


def test_namespaces_live() -> None:
    assert data("namespaces", "create", "other", "--metadata", "team=pay")["metadata"] == {"team": "pay"}
    updated = data("namespaces", "update", "other", "--description", "[red]more", "--metadata", "team=x")
    assert (updated["description"], updated["metadata"]) == ("[red]more", {"team": "x"})
    assert "[red]more" in sira("namespaces", "get", "other")
    names = [each["name"] for each in data("namespaces", "list", "--filter", 'metadata.team = "x"')]
    assert names == ["namespaces/other"]
    assert run("namespaces", "delete", "other") == ("", "deleted namespaces/other\n")
    assert "[NAMESPACE_NOT_FOUND]" in refusal("namespaces", "get", "other", code=ExitCode.NOT_FOUND)


def test_services_live(namespace: str) -> None:
    made = data("services", "create", "checkout", "--lb-policy", "ring-hash", "--slow-start", "30s")
    assert made["trafficPolicy"]["lbPolicy"] == "LB_POLICY_RING_HASH"
    assert "trafficPolicy" not in data("services", "create", "plain")
    changed = data("services", "update", "checkout", "--slow-start", "off", "--subset-size", "3")
    policy = changed["trafficPolicy"]
    assert (policy["lbPolicy"], policy["subsetSize"], "slowStart" in policy) == ("LB_POLICY_RING_HASH", 3, False)
    assert "ring-hash, subsets of 3" in sira("services", "get", "checkout")
    assert [line.split()[0] for line in sira("services", "list").splitlines()] == [
        "NAME",
        f"{namespace}/checkout",
        f"{namespace}/plain",
    ]
    everywhere = {each["name"] for each in data("services", "list", "-A")}
    assert {each["name"] for each in data("services", "list")} <= everywhere
    assert run("services", "delete", "checkout")[1].startswith("deleted ")


def test_refusals_name_the_reason_and_have_their_exit_code() -> None:
    etag = data("services", "create", "checkout")["etag"]
    assert "[ALREADY_EXISTS]" in refusal("services", "create", "checkout", code=ExitCode.CONFLICT)
    data("services", "update", "checkout", "--description", "newer", "--etag", etag)
    stale = refusal("services", "update", "checkout", "--description", "x", "--etag", etag, code=ExitCode.CONFLICT)
    assert "[ETAG_MISMATCH]" in stale
    assert "service.name" in refusal("services", "create", "Bad_Name", code=ExitCode.USAGE)
    assert "[INVALID_FILTER]" in refusal("services", "list", "--filter", "x >", code=ExitCode.USAGE)
    assert "[SERVICE_NOT_FOUND]" in refusal("resolve", "nothing", code=ExitCode.NOT_FOUND)
    assert "[SERVICE_NOT_FOUND]" in refusal("watch", "nothing", code=ExitCode.NOT_FOUND)
    assert "[LEASE_NOT_FOUND]" in refusal("leases", "get", "none", code=ExitCode.NOT_FOUND)


def test_a_kernel_that_does_not_answer_is_a_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        late = refusal("--addr", address, "--timeout", "100ms", "status", code=ExitCode.DEADLINE)
    assert "--timeout gives it longer" in late


def test_a_service_with_nothing_healthy_is_no_error() -> None:
    sira("services", "create", "checkout")
    out, err = run("resolve", "checkout")
    assert (out, err.endswith("has no healthy endpoint; 0 registered\n")) == ("", True)
    assert data("resolve", "checkout")["endpoints"] == []


def test_an_endpoint_is_registered_shown_changed_and_drained() -> None:
    options = ("--region", "eu", "--zone", "a", "--weight", "50", "--tag", "gpu", "--metadata", "k=v", "--version", "2")
    with registered("127.0.0.1:9000", "--id", "a", *options) as process:
        (endpoint,) = data("endpoints", "list", "checkout")
        assert endpoint["name"].endswith("/services/checkout/endpoints/a")
        assert (endpoint["weight"], endpoint["tags"], endpoint["metadata"]) == (50, ["gpu"], {"k": "v"})
        assert "127.0.0.1:9000" in sira("endpoints", "list")
        assert data("endpoints", "update", "checkout/a", "--weight", "70")["weight"] == 70
        assert data("endpoints", "update", "checkout/a", "--tag", "x", "--tag", "y")["tags"] == ["x", "y"]
        assert "x,y" in sira("endpoints", "get", "checkout/a")

        lease = data("leases", "get", endpoint["lease"].removeprefix("leases/"))
        assert (lease["name"], lease["ttl"], lease["state"]) == (endpoint["lease"], "15s", "LEASE_STATE_HELD")
        assert lease["name"] in sira("leases", "list")
        assert lease["name"] in sira("leases", "get", lease["name"])

        (resolved,) = data("resolve", "checkout", "--region", "eu", "--zone", "a")["endpoints"]
        assert (resolved["port"], resolved["state"]) == (9000, "HEALTH_STATE_SERVING")
        assert "eu/a" in sira("resolve", "checkout")

        out, err = run("drain", "checkout/a", "--cause", "a test")
        assert "not reported" in out
        assert err.startswith("drained: ")
        assert sira("resolve", "checkout") == ""
        run("drain", "checkout/a", "--cancel")
        assert data("drain", "checkout", "--region", "us")["endpoints"] == []
        assert "127.0.0.1:9000" in sira("resolve", "checkout")
        assert process.interrupt() == ExitCode.OK
        process.chatter("deregistered")
    assert data("endpoints", "list", "checkout") == []


def test_events_tell_what_happened_and_why(namespace: str) -> None:
    with registered("127.0.0.1:9000", "--id", "a"):
        run("endpoints", "delete", "checkout/a")
    told = data("events", "checkout/a")
    assert [event["type"] for event in told[-1:]] == ["EVENT_TYPE_CREATED"]
    assert "EVENT_TYPE_DELETED" in {event["type"] for event in told}
    assert len(data("events", "--limit", "1")) == 1
    assert len(data("events", "-n", namespace, "--limit", "0")) >= 3
    assert "DELETED" in sira("events", "checkout")


@pytest.mark.parametrize(("check", "kind"), [("tcp", "tcp"), ("http:/healthz", "http"), ("grpc:x", "grpc")])
def test_a_check_decides(check: str, kind: str) -> None:
    with (
        registered("127.0.0.1:1", "--id", "a", "--check", check, "--check-interval", "100ms"),
        SiraProcess("watch", "checkout", "-o", "json") as watching,
    ):
        seen = watching.json()["snapshot"]["endpoints"]
        while not seen or seen[0]["status"]["state"] == "HEALTH_STATE_STARTING":
            seen = watching.json().get("changes", {}).get("upserted", [])
        assert seen[0]["status"]["state"] == "HEALTH_STATE_NOT_SERVING"
        assert kind in seen[0]["healthCheck"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["checkout", "localhost"], "[HOST]:PORT: 'localhost' must be like"),
        (["checkout", "h:1", "--check", "udp"], "--check: 'udp' is none of"),
        (["checkout", "h:1", "--check-interval", "1s"], "--check-interval: needs --check"),
        (["checkout", "h:1", "--id", "BAD"], "BAD"),
        (["checkout", "h:0"], "port"),
    ],
)
def test_a_registration_that_makes_no_sense_is_refused(arguments: list[str], complaint: str) -> None:
    assert complaint in refusal("register", *arguments, code=ExitCode.USAGE)


def test_a_watch_goes_on_until_it_is_interrupted() -> None:
    sira("services", "create", "checkout")
    with SiraProcess("watch", "checkout", "-o", "json") as watching:
        assert watching.json()["snapshot"]["service"]["name"].endswith("/services/checkout")
        with registered("127.0.0.1:9000", "--id", "a"):
            message = watching.json()
            while "changes" not in message:
                message = watching.json()
            assert message["changes"]["upserted"][0]["name"].endswith("/endpoints/a")
        assert watching.interrupt() == ExitCode.OK
        watching.chatter("stopped")


def test_a_reader_that_has_had_enough_ends_a_watch_in_silence() -> None:
    sira("services", "create", "checkout")
    command = [sys.executable, "-m", "sira_grpc", "watch", "checkout", "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert "snapshot" in watching.stdout.readline()
        watching.stdout.close()
        sira("services", "update", "checkout", "--description", "changed")
        assert watching.wait(timeout=DEADLINE) == ExitCode.OK
        assert watching.stderr.read() == ""


async def test_a_drain_that_is_not_done_in_time_says_so(address: str, namespace: str) -> None:
    endpoint: dict[str, Any] = {
        "port": 9000,
        "address": "127.0.0.1",
        "endpoint_id": "a",
        "namespace": namespace,
        "drain_timeout": 0,
    }
    async with connect_insecure(address) as client, client.register("checkout", **endpoint) as registration:
        registration.report_load(in_flight=3)
        result = await asyncio.to_thread(CliRunner().invoke, app, ["drain", "checkout", "--wait", "0"])
        while "3" not in result.stdout:  # the report is on its way
            result = await asyncio.to_thread(CliRunner().invoke, app, ["drain", "checkout", "--wait", "0"])
    assert result.exit_code == ExitCode.DEADLINE
    assert "not drained within 0: " in result.stderr


def test_completion_knows_the_commands() -> None:
    environment = {"_SIRA_COMPLETE": "complete_bash", "COMP_WORDS": "sira serv", "COMP_CWORD": "1"}
    with SiraProcess(environment=environment) as completing:
        assert completing.line() == "services"


def test_colours_are_for_those_who_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with registered("127.0.0.1:9000", "--id", "a"):
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert "\x1b[32mSERVING" in sira("endpoints", "list")
        monkeypatch.setenv("NO_COLOR", "1")
        assert "\x1b[32m" not in sira("endpoints", "list")
