"""`sira bootstrap`: what it writes, for whom, and what it refuses."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sira_grpc.cli.app import app
from sira_grpc.cli.bootstrap.client_kind import BootstrapKind, environment
from sira_grpc.cli.exits import ExitCode
from tests.unit.cli import svid_files
from tests.unit.svid.authority import Authority

SERVICE = "spiffe://example.org/ns/shop/svc/checkout"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """No context and no variable of whoever runs the tests."""
    for name in ("SIRA_ADDR", "SIRA_CONTEXT", "SIRA_NAMESPACE", "SIRA_CLIENT_IDENTITY_DIR", "SPIFFE_ENDPOINT_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SIRA_CONFIG", "/nowhere/config.yaml")


@pytest.fixture(scope="module")
def authority() -> Authority:
    """What issues the identities."""
    return Authority()


def run(*arguments: str, code: ExitCode = ExitCode.OK) -> tuple[str, str]:
    """Runs the command, expects its exit code, and returns stdout and stderr."""
    result = CliRunner().invoke(app, ["bootstrap", *arguments])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def made(*arguments: str) -> dict[str, Any]:
    """The document that it prints."""
    return dict(json.loads(run(*arguments)[0]))


def credentials(document: dict[str, Any]) -> list[dict[str, Any]]:
    """How each kernel is connected to."""
    return [server["channel_creds"][0] for server in document["xds_servers"]]


def test_a_kernel_on_loopback_is_reached_in_plaintext() -> None:
    document = made("--service", "checkout", "-n", "shop", "--region", "eu", "--zone", "a")
    assert document["xds_servers"] == [
        {"server_uri": "127.0.0.1:7400", "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}
    ]
    assert document["node"] == {
        "id": f"checkout.shop@{socket.gethostname()}",
        "cluster": "checkout.shop",
        "locality": {"region": "eu", "zone": "a"},
        "metadata": {"sira": {"namespace": "shop"}},
    }
    assert "certificate_providers" not in document
    # Without it, a server with xDS credentials serves plaintext.
    assert document["server_listener_resource_name_template"].endswith("listening_address=%s")


def test_a_client_that_is_no_service_is_in_a_namespace_all_the_same() -> None:
    node = made("-n", "shop", "--id", "batch")["node"]
    assert node == {"id": "batch", "cluster": "", "locality": {}, "metadata": {"sira": {"namespace": "shop"}}}


def test_an_identity_secures_the_kernel_and_the_calls(tmp_path: Path, authority: Authority) -> None:
    svid_files.write(tmp_path / "id", authority, identity=SERVICE)
    document = made("--identity", str(tmp_path / "id"), "--server", "a.example:7400", "--server", "unix:/run/sira.sock")
    files = {
        "certificate_file": f"{tmp_path}/id/svid.pem",
        "private_key_file": f"{tmp_path}/id/key.pem",
        "ca_certificate_file": f"{tmp_path}/id/bundle.pem",
        "refresh_interval": "10s",
    }
    assert credentials(document) == [{"type": "tls", "config": files}, {"type": "insecure"}]
    assert document["certificate_providers"] == {"default": {"plugin_name": "file_watcher", "config": files}}
    assert document["node"]["cluster"] == "checkout.shop"
    assert document["node"]["metadata"] == {"sira": {"namespace": "shop"}}


def test_an_identity_that_the_agent_has_not_written_yet_is_told_of(tmp_path: Path) -> None:
    out, err = run("--identity", str(tmp_path / "later"), "--service", "checkout", "--server", "a.example:7400")
    assert json.loads(out)["node"]["cluster"] == "checkout.default"
    assert "later/svid.pem is not there yet" in err


def test_files_of_authorities_secure_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIRA_CA_FILE", "/etc/ca.pem")
    assert credentials(made("--server", "a.example:7400")) == [
        {"type": "tls", "config": {"ca_certificate_file": "/etc/ca.pem", "refresh_interval": "10s"}}
    ]


def test_without_anything_another_host_is_trusted_by_the_systems_authorities() -> None:
    assert credentials(made("--server", "a.example:7400")) == [{"type": "tls", "config": {}}]


def test_a_file_is_written_whole_and_its_environment_is_for_a_shell(tmp_path: Path) -> None:
    path = tmp_path / "of a client" / "bootstrap.json"
    out, err = run("--file", str(path))
    assert out == f"export GRPC_XDS_BOOTSTRAP='{path}'\nexport GRPC_EXPERIMENTAL_XDS_DATA_ERROR_HANDLING=true\n"
    assert err == ""
    assert json.loads(path.read_text())["xds_servers"]
    assert [each.name for each in path.parent.iterdir()] == ["bootstrap.json"]
    told = json.loads(run("--file", str(path), "--kind", "go", "-o", "json")[0])
    assert told == {"file": str(path), "environment": {"GRPC_XDS_BOOTSTRAP": str(path)}}


def test_without_a_file_the_environment_is_chatter() -> None:
    assert "export GRPC_XDS_BOOTSTRAP=FILE\n" in run()[1]


@pytest.mark.parametrize("kind", [kind for kind in BootstrapKind if kind != BootstrapKind.ENVOY])
def test_every_kind_of_grpc_finds_its_bootstrap(kind: BootstrapKind) -> None:
    assert environment(kind, "/b.json")["GRPC_XDS_BOOTSTRAP"] == "/b.json"
    assert made("--kind", kind)["node"]["id"] == socket.gethostname()


def test_an_envoy_has_a_bootstrap_of_its_own(tmp_path: Path) -> None:
    ports = ("--inbound", "15006:50051", "--egress", "15001", "--admin", "127.0.0.1:9901")
    document = made("--kind", "envoy", "--service", "checkout", "-n", "shop", "--upstream", "pay", "--sotw", *ports)
    assert document["node"]["cluster"] == "checkout.shop"
    assert document["node"]["metadata"]["sira"] == {
        "namespace": "shop",
        "inbound": [{"port": 15006, "target_port": 50051}],
        "upstreams": ["pay.shop"],
        "egress_port": 15001,
    }
    assert document["dynamic_resources"]["ads_config"]["api_type"] == "GRPC"
    assert run("--kind", "envoy", "--file", str(tmp_path / "envoy.json")) == ("", "")
    assert json.loads((tmp_path / "envoy.json").read_text())["static_resources"]


def test_an_envoy_elsewhere_needs_the_socket_of_an_agent() -> None:
    assert "--sds-socket PATH" in run("--kind", "envoy", "--server", "a:1", code=ExitCode.USAGE)[1]


@pytest.mark.parametrize("kind", ["node", "java"])
def test_kinds_that_take_no_certificates_need_a_unix_socket(tmp_path: Path, authority: Authority, kind: str) -> None:
    svid_files.write(tmp_path, authority, identity=SERVICE)
    identity = ("--kind", kind, "--identity", str(tmp_path))
    complaint = run(*identity, "--server", "a:1", code=ExitCode.USAGE)[1]
    assert f"--kind {kind}: it takes no certificates for its connection to a:1" in complaint
    document = made(*identity, "--server", "unix:/run/sira.sock")
    assert document["xds_servers"][0]["server_uri"] == "unix:///run/sira.sock"
    assert credentials(document) == [{"type": "insecure"}]
    assert document["certificate_providers"]


def test_node_js_takes_plaintext_only() -> None:
    assert credentials(made("--kind", "java", "--server", "a:1")) == [{"type": "tls", "config": {}}]
    assert "it takes no certificates" in run("--kind", "node", "--server", "a:1", code=ExitCode.USAGE)[1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--server", "a"], "--server: 'a' is neither host:port nor unix:path"),
        (["--server", "a:0"], "--server: 'a:0' has no port"),
        (["--server", "a:1", "--server", "a:1"], "--server: the same address is there twice"),
        (["--service", "Bad"], "--service: 'namespaces/default/services/Bad' is no name of a service"),
        (["--service", "a/b"], "--service: "),
        (["--service", "namespaces/shop"], "--service: 'namespaces/shop' is no name of a service"),
        (["--service", "a.b"], "--service: "),
        (["--egress", "15001"], "the options of an Envoy go with --kind envoy"),
        (["--kind", "envoy", "--inbound", "1"], "--inbound: '1' must be PORT:TARGET_PORT"),
        (["--kind", "envoy", "--admin", "x"], "--admin: 'x' is neither host:port nor unix:path"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "bootstrap.json"
    out, err = run(*arguments, "--file", str(path), code=ExitCode.USAGE)
    assert (out, path.exists()) == ("", False)
    assert complaint in err


def test_an_identity_of_another_service_is_refused(tmp_path: Path, authority: Authority) -> None:
    svid_files.write(tmp_path, authority, identity=SERVICE)
    complaint = run("--identity", str(tmp_path), "--service", "pay", "-n", "shop", code=ExitCode.USAGE)[1]
    assert "is of namespaces/shop/services/checkout, not of namespaces/shop/services/pay" in complaint


def test_what_is_no_identity_is_refused(tmp_path: Path) -> None:
    (tmp_path / "svid.pem").write_text("nothing")
    assert "--identity: " in run("--identity", str(tmp_path), code=ExitCode.USAGE)[1]


def test_an_operators_identity_is_not_lent_to_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIRA_CLIENT_IDENTITY_DIR", "/srv/operator")
    assert "not that of the service" in run("--server", "a:1", code=ExitCode.USAGE)[1]
