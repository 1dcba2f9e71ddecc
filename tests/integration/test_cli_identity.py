"""`sira identity`, `token`, `tls` and `doctor` against a kernel that runs, each caller with its own identity."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sira_grpc.cli.app import app
from sira_grpc.cli.exits import ExitCode
from sira_grpc.svid import bundle_document, x509_svid
from tests.integration.sira_process import SiraProcess, up
from tests.unit.svid.authority import Authority

DOMAIN = "spiffe://sira.internal"


@dataclass(frozen=True)
class Running:
    """A kernel that runs."""

    address: str
    tokens: str
    operator: str
    folder: Path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A kernel whose rotations do not wait for those who cannot watch."""
    folder = tmp_path_factory.mktemp("kernel")
    with up(folder, environment={"SIRA_IDENTITY_ROTATION_MIN_STAGE": "1"}) as kernel:
        ready = kernel.json()
        yield Running(ready["addresses"][0], ready["tokenAddresses"][0], ready["operatorDir"], folder)
        assert kernel.interrupt() == ExitCode.OK


@pytest.fixture(autouse=True)
def operator(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are the operator's."""
    monkeypatch.setenv("SIRA_ADDR", running.address)
    monkeypatch.setenv("SIRA_CONFIG", "/nowhere/config.yaml")
    be(monkeypatch, running.operator)


def be(monkeypatch: pytest.MonkeyPatch, directory: str | Path) -> None:
    """Has commands be whoever a directory is of."""
    monkeypatch.setenv("SIRA_CLIENT_IDENTITY_DIR", str(directory))


def run(*arguments: str, code: ExitCode = ExitCode.OK, stdin: str | None = None) -> tuple[str, str]:
    """Runs a command, expects its exit code, and returns what it printed on stdout and on stderr."""
    result = CliRunner().invoke(app, arguments, input=stdin)
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def sira(*arguments: str) -> str:
    return run(*arguments)[0]


def data(*arguments: str) -> Any:
    return json.loads(sira(*arguments, "-o", "json"))


def refusal(*arguments: str, code: ExitCode) -> str:
    """Runs a command that fails with one line on stderr, and returns that line."""
    _, err = run(*arguments, code=code)
    assert err.startswith("sira: ")
    assert err.count("\n") == 1
    return err


def test_status() -> None:
    status = data("identity", "status")
    assert status["trustDomain"] == "sira.internal"
    (authority,) = status["authorities"]
    assert authority["state"] == "AUTHORITY_STATE_ISSUING"
    shown = sira("identity", "status")
    assert authority["rootSha256"] in shown
    assert "own root" in shown


def test_a_token_is_created_used_listed_and_deleted(running: Running, tmp_path: Path) -> None:
    patterns = ("--identity", "checkout", "--identity", "node/*", "--delegate", "*", "--dns-name", "*.shop.test")
    terms = ("--uses", "2", "--certificate-ttl", "10m", "--description", "for [tests]")
    out, err = run("token", "create", *patterns, *terms)
    secret, name = out.strip(), f"joinTokens/{out.partition('.')[0]}"
    assert out.count("\n") == 1
    assert err == (
        f"{name} is good for {DOMAIN}/ns/default/svc/checkout {DOMAIN}/node/*, 2 times within 1h\n"
        f"delegates {DOMAIN}/ns/default/svc/*\n"
    )
    directory = str(tmp_path / "checkout")
    joining = ("identity", "join", running.tokens, "--dir", directory, "--name", "checkout", "--token-file", "-")
    out, err = run(*joining, "--dns-name", "a.shop.test", "-o", "json", stdin=out)
    joined = json.loads(out)
    assert (joined["identity"], joined["verified"]) == (f"{DOMAIN}/ns/default/svc/checkout", True)
    assert joined["dnsNames"] == ["checkout.default.sira.internal", "a.shop.test"]
    assert f"sira identity agent --config FILE --dir {directory}" in err
    assert secret not in out + err

    (token,) = [token for token in data("token", "list") if token["name"] == name]
    assert (token["uses"], token["maxUses"], token["certificateTtl"]) == (1, 2, "600s")
    row = next(line for line in sira("token", "list").splitlines() if "for [tests]" in line)
    assert row.split()[1:5] == ["usable", "1", "of", "2"]
    (certificate,) = data("tls", "list", "--join-token", name, "--live")
    assert certificate["serial"] == joined["serial"]

    other = ("identity", "join", running.tokens, "--dir", str(tmp_path / "x"), "--token", secret)
    assert "[IDENTITY_NOT_ALLOWED]" in refusal(*other, "--name", "pay", code=ExitCode.REFUSED)
    assert run("token", "delete", name) == ("", f"deleted {name}\n")
    assert "[JOIN_TOKEN_NOT_FOUND]" in refusal("token", "delete", token["name"], code=ExitCode.NOT_FOUND)
    assert "[JOIN_TOKEN_INVALID]" in refusal(*other, "--name", "node/x", code=ExitCode.REFUSED)


def test_a_token_of_another_kernel_is_not_handed_to_this_one(running: Running, tmp_path: Path) -> None:
    secret = sira("token", "create", "--identity", "node/*").strip()
    wrong = secret.rpartition(".")[0] + "." + "0" * 64
    joining = ("identity", "join", running.tokens, "--dir", str(tmp_path / "x"), "--token")
    assert "the kernel's root is not the one of the join token" in refusal(*joining, wrong, code=ExitCode.REFUSED)
    nobody = ("identity", "join", "127.0.0.1:1", "--dir", str(tmp_path / "x"), "--token", secret)
    assert "cannot connect to a kernel at 127.0.0.1:1" in refusal(*nobody, code=ExitCode.UNAVAILABLE)
    assert data("token", "create", "--identity", "node/*", "--ttl", "2m")["joinToken"]["maxUses"] == 1
    assert "joinToken.identities" in data_refusal("token", "create", "--identity", "spiffe://b.test/x")


def data_refusal(*arguments: str) -> str:
    return refusal(*arguments, code=ExitCode.USAGE).replace("join_token.", "joinToken.")


def test_an_operator_issues_a_directory_and_revokes_it(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "alice"
    issued = data("identity", "issue", "operator/alice", "--dir", str(directory), "--ttl", "5m")
    assert issued["identity"] == f"{DOMAIN}/operator/alice"
    assert data("identity", "show", str(directory)) == issued
    assert "by bundle.pem" in sira("identity", "show", str(directory))
    be(monkeypatch, directory)
    assert data("identity", "show")["serial"] == issued["serial"]
    assert issued["serial"] in sira("tls", "list", "--identity", "operator/alice")
    be(monkeypatch, running.operator)
    assert data("tls", "revoke", issued["serial"].upper(), "--cause", "a test") == {"revoked": 1}
    assert "revoked" in sira("tls", "list", "--identity", "operator/*")
    be(monkeypatch, directory)
    assert "[CREDENTIAL_REVOKED]" in refusal("identity", "status", code=ExitCode.REFUSED)
    be(monkeypatch, running.operator)
    out, err = run("tls", "revoke", "operator/alice")
    assert (out, err) == ("", f"revoked {DOMAIN}/operator/alice: 0 live until now\n")


def test_a_service_is_not_an_operator(running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data("identity", "issue", "checkout", "-n", "shop", "--dir", str(tmp_path / "me"))
    be(monkeypatch, tmp_path / "me")
    assert data("status")["storeWritable"] is True
    for command in (("token", "list"), ("identity", "status"), ("tls", "revoke", "node/x"), ("identity", "rotate")):
        assert "[PERMISSION_DENIED]" in refusal(*command, code=ExitCode.REFUSED)
    jwt = data("identity", "jwt", "--audience", "a", "--audience", "b", "--ttl", "10s")
    assert jwt["identity"] == f"{DOMAIN}/ns/shop/svc/checkout"


def test_a_registration_is_held_with_an_identity(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sira("namespaces", "create", "pay")
    sira("services", "create", "checkout", "-n", "pay")
    data("identity", "issue", "checkout", "-n", "pay", "--dir", str(tmp_path / "me"))
    own = {"SIRA_CLIENT_IDENTITY_DIR": str(tmp_path / "me")}
    registering = ("--addr", running.address, "register", "checkout", "127.0.0.1:9", "-n", "pay", "--drain", "0")
    with SiraProcess(*registering, "--no-create", environment=own) as holding:
        assert "/services/checkout/endpoints/" in holding.line()
        assert holding.interrupt() == ExitCode.OK


def test_a_token_serves_those_who_cannot_show_a_certificate(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_text(sira("identity", "bundle"))
    (tmp_path / "jwt").write_text(sira("identity", "jwt", "--identity", "operator/bob", "--ttl", "15s"))
    monkeypatch.delenv("SIRA_CLIENT_IDENTITY_DIR")
    monkeypatch.setenv("SIRA_CA_FILE", str(tmp_path / "ca.pem"))
    without = refusal("--addr", running.tokens, "status", code=ExitCode.REFUSED)
    assert "needs a certificate or token" in without
    monkeypatch.setenv("SIRA_JWT_FILE", str(tmp_path / "jwt"))
    assert json.loads(sira("--addr", running.tokens, "identity", "status", "-o", "json"))["trustDomain"]
    registering = ("--addr", running.tokens, "register", "x", "127.0.0.1:9", "--drain", "0")
    with SiraProcess(*registering) as holding:
        assert "/services/x/endpoints/" in holding.line()
        assert holding.interrupt() == ExitCode.OK


def test_whoever_shows_nothing_is_told_what_to_show(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIRA_CLIENT_IDENTITY_DIR")
    told = refusal("status", code=ExitCode.UNAVAILABLE)
    assert "name yours: SIRA_CLIENT_IDENTITY_DIR" in told


def test_a_kernel_that_cannot_be_verified_is_one_line(running: Running, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(x509_svid.to_pem([Authority().certificate]))
    own = {"SIRA_CA_FILE": str(tmp_path / "ca.pem"), "SIRA_CLIENT_IDENTITY_DIR": ""}
    with SiraProcess("--addr", running.tokens, "identity", "status", environment=own) as asking:
        assert asking.wait() == ExitCode.UNAVAILABLE
        (line,) = asking.rest()
    assert "CERTIFICATE_VERIFY_FAILED" in line


def test_bundles(tmp_path: Path) -> None:
    pem, document = sira("identity", "bundle"), sira("identity", "bundle", "--format", "spiffe")
    (root,) = x509_svid.read_pem(pem.encode())
    read = bundle_document.read("sira.internal", document.encode())
    assert list(read.x509_authorities) == [x509_svid.to_der(root)]
    assert data("identity", "bundle")["trustDomain"] == "sira.internal"
    assert "[TRUST_DOMAIN_NOT_FOUND]" in refusal("identity", "bundle", "c.test", code=ExitCode.NOT_FOUND)


def test_federation(tmp_path: Path) -> None:
    document = tmp_path / "bundle.json"
    document.write_text(sira("identity", "bundle", "--format", "spiffe"))
    made = data("identity", "federation", "set", "b.test", "--file", str(document))
    assert (made["name"], made["endpointProfile"]) == ("federatedBundles/b.test", "BUNDLE_ENDPOINT_PROFILE_UNSPECIFIED")
    endpoint = (
        "--endpoint-url",
        "https://127.0.0.1:1/",
        "--profile",
        "spiffe",
        "--endpoint-identity",
        "spiffe://b.test/x",
    )
    changed = json.loads(
        run(
            "identity",
            "federation",
            "set",
            "b.test",
            "--file",
            "-",
            *endpoint,
            "-o",
            "json",
            stdin=document.read_text(),
        )[0]
    )
    assert changed["endpointProfile"] == "BUNDLE_ENDPOINT_PROFILE_HTTPS_SPIFFE"
    assert "https://127.0.0.1:1/" in sira("identity", "federation", "list")
    assert data("identity", "status")["federated"] == ["b.test"]
    web = ("identity", "federation", "set", "c.test", "--endpoint-url", "https://127.0.0.1:1/", "--profile", "web")
    assert "[BUNDLE_UNAVAILABLE]" in refusal(*web, code=ExitCode.CONFLICT)
    assert run("identity", "federation", "delete", "b.test") == ("", "deleted federatedBundles/b.test\n")
    assert data("identity", "federation", "list") == []


def test_a_server_is_checked(running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = data("tls", "check", running.address)
    assert (shown["version"], shown["verified"], shown["accepted"]) == ("TLSv1.3", True, True)
    assert shown["identity"].startswith(f"{DOMAIN}/member/")
    assert shown["shownAs"] == f"{DOMAIN}/operator/local"
    assert "kernel.sira.internal" in sira("tls", "check", running.tokens)
    monkeypatch.delenv("SIRA_CLIENT_IDENTITY_DIR")
    out, err = run("tls", "check", running.address, code=ExitCode.REFUSED)
    assert "it hung up, as servers do that want a certificate" in out
    assert "cannot be verified: nothing to verify it with" in err
    assert "yes" in sira("tls", "check", running.tokens, "--identity-dir", running.operator)
    assert "cannot shake hands" in refusal("tls", "check", "127.0.0.1:1", code=ExitCode.UNAVAILABLE)


def test_a_doctor_that_reaches_the_kernel_has_nothing_to_say(running: Running) -> None:
    assert run("doctor", running.operator, "-o", "json") == ("[]\n", "nothing is wrong\n")


def test_a_rotation_is_followed_to_its_end() -> None:
    for certificate in data("tls", "list", "--live"):  # what nobody renews would be waited for
        kind = certificate["identity"].removeprefix(f"{DOMAIN}/").partition("/")[0]
        if kind != "member" and certificate["identity"] != f"{DOMAIN}/operator/local":
            data("tls", "revoke", certificate["serial"])
    (before,) = data("identity", "status")["authorities"]
    out, err = run("identity", "rotate", "--wait", "-o", "json")
    stages = [json.loads(line)["stage"].removeprefix("ROTATION_STAGE_") for line in out.splitlines()]
    assert stages[0] == "PUBLISHING"
    assert stages == [stage for stage in ("PUBLISHING", "ISSUING", "RETIRING") if stage in stages]
    assert err.splitlines()[-1].startswith("the rotation is over after ")
    (after,) = data("identity", "status")["authorities"]
    assert after["id"] != before["id"]
    assert "LAST ROTATION" in sira("identity", "status")


def test_a_rotation_that_is_not_over_in_time_is_advanced_or_turned_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with up(tmp_path, environment={"SIRA_IDENTITY_ROTATION_MIN_STAGE": "600"}) as kernel:
        ready = kernel.json()
        monkeypatch.setenv("SIRA_ADDR", ready["addresses"][0])
        be(monkeypatch, ready["operatorDir"])
        data("identity", "issue", "late", "--dir", str(tmp_path / "late"))  # and nobody renews it
        out, err = run("identity", "rotate", "--wait", "--timeout", "1s", code=ExitCode.DEADLINE)
        assert [line.split()[0] for line in out.splitlines()] == ["PUBLISHING"]
        assert err.splitlines()[-1].startswith("sira: not over within 1 s: PUBLISHING from ")
        assert "[ROTATION_UNDER_WAY]" in refusal("identity", "rotate", code=ExitCode.CONFLICT)
        assert "[ROTATION_UNDER_WAY]" in refusal("identity", "advance", "issuing", code=ExitCode.CONFLICT)
        assert data("identity", "advance", "publishing")["rotation"]["stage"] == "ROTATION_STAGE_ISSUING"
        assert "certificate" in sira("identity", "status")
        assert ", turned back; waits for " in sira("identity", "cancel")
        assert data("identity", "advance", "issuing")["rotation"]["stage"] == "ROTATION_STAGE_RETIRING"
        assert sira("identity", "advance", "retiring") == "the rotation is over\n"
        assert "[NO_ROTATION]" in refusal("identity", "cancel", code=ExitCode.CONFLICT)
        data("identity", "rotate")
        assert sira("identity", "cancel") == "the rotation is over\n"
        assert kernel.interrupt() == ExitCode.OK


def test_whoever_waits_for_a_rotation_learns_that_it_was_turned_back(tmp_path: Path) -> None:
    with up(tmp_path, environment={"SIRA_IDENTITY_ROTATION_MIN_STAGE": "600"}) as kernel:
        ready = kernel.json()
        own = {"SIRA_ADDR": ready["addresses"][0], "SIRA_CLIENT_IDENTITY_DIR": ready["operatorDir"]}
        with SiraProcess("identity", "rotate", "--wait", environment=own) as waiting:
            assert waiting.line().startswith("PUBLISHING from ")
            with SiraProcess("identity", "cancel", environment=own) as cancelling:
                assert cancelling.wait() == ExitCode.OK
            assert "the rotation was turned back" in waiting.chatter("sira: ")
            assert waiting.wait() == ExitCode.CONFLICT
        assert kernel.interrupt() == ExitCode.OK
