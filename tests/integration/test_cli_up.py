"""`sira up` with identities, as a process: what the first start tells, which TLS it speaks, and how it refuses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sira_grpc.cli.exits import ExitCode
from sira_grpc.svid import x509_svid
from tests.integration.sira_process import DEADLINE, SiraProcess, dev, up
from tests.unit.svid.authority import Authority, Issued

OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a line as a reader of it would, in a folder and with contexts of its own."""
    command = ["sh", "-c", line.strip().replace("sira", f"{sys.executable} -m sira_grpc", 1)]
    environment = {**os.environ, "SIRA_CONFIG": str(folder / "config.yaml")}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=DEADLINE
    )


def test_the_first_start_tells_what_can_be_pasted(tmp_path: Path) -> None:
    with up(tmp_path) as kernel:
        ready = kernel.json()
        assert ready["trustDomain"] == "sira.internal"
        assert ready["operatorDir"] == str(tmp_path / "identity" / "operator")
        assert len(ready["tokenAddresses"]) == 1
        assert "bundleAddress" not in ready
        assert ready["rootSha256"] in kernel.chatter("root SHA-256")
        kernel.chatter("spiffe://sira.internal/operator/local")
        kernel.chatter(str(tmp_path / "identity" / "encryption.key"))
        context, status, join = (
            kernel.chatter(f"  sira {what}") for what in ("context set", "--context", "identity join")
        )
        assert ready["tokenAddresses"][0] in join
        assert "--delegate" in kernel.chatter("  sira --context local token create")

        assert shell(context, tmp_path).returncode == ExitCode.OK
        told = shell(status, tmp_path)
        assert (told.returncode, "1 usable" in told.stdout) == (ExitCode.OK, True)
        joined = shell(join, tmp_path)
        assert (joined.returncode, "spiffe://sira.internal/node/" in joined.stdout) == (ExitCode.OK, True)
        assert shell("sira identity show sira-agent", tmp_path).returncode == ExitCode.OK
        again = shell(join, tmp_path)
        assert (again.returncode, "[JOIN_TOKEN_INVALID]" in again.stderr) == (ExitCode.REFUSED, True)
        assert "0 usable" in shell(status, tmp_path).stdout
        assert kernel.interrupt() == ExitCode.OK

    with up(tmp_path, environment={"SIRA_LOG_LEVEL": "error"}) as kernel:
        assert kernel.json()["rootSha256"] == ready["rootSha256"]
        assert kernel.interrupt() == ExitCode.OK
        assert kernel.rest() == ["draining", "stopped"]


def test_the_line_for_people_has_no_secret(tmp_path: Path) -> None:
    with up(tmp_path, "-o", "table", environment={"SIRA_IDENTITY_BUNDLE_ADDRESS": "127.0.0.1:0"}) as kernel:
        line = kernel.line()
        assert "; trust domain sira.internal; tokens on 127.0.0.1:" in line
        assert "; bundle on https://127.0.0.1:" in line
        secret = kernel.chatter("--token").split("--token ")[1].split()[0]
        assert secret not in line
        assert kernel.interrupt() == ExitCode.OK


def test_without_an_address_for_tokens_there_is_none(tmp_path: Path) -> None:
    with up(tmp_path, environment={"SIRA_SERVER_TOKEN_ADDRESSES": ""}) as kernel:
        assert kernel.json()["tokenAddresses"] == []
        kernel.chatter("Nobody can join with a token: server.token_addresses is empty.")
        assert kernel.interrupt() == ExitCode.OK


def test_development_is_without_identities_unless_they_are_asked_for(tmp_path: Path) -> None:
    with dev() as kernel:
        assert "trustDomain" not in kernel.json()
    asked = {"SIRA_IDENTITY_ENABLED": "true", "SIRA_SERVER_TOKEN_ADDRESSES": "127.0.0.1:0"}
    with SiraProcess("dev", "-o", "json", "--listen", "127.0.0.1:0", environment=asked) as kernel:
        ready = kernel.json()
        assert Path(ready["operatorDir"]).is_relative_to(ready["dataDir"])
        variables = {"SIRA_CLIENT_IDENTITY_DIR": ready["operatorDir"], "SIRA_CONFIG": "/nowhere"}
        with SiraProcess("--addr", ready["addresses"][0], "identity", "status", environment=variables) as asking:
            assert asking.wait() == ExitCode.OK
        assert kernel.interrupt() == ExitCode.OK
        assert not Path(ready["operatorDir"]).exists()


def test_without_identities_there_are_none_and_nothing_is_told(tmp_path: Path) -> None:
    with up(tmp_path, environment={"SIRA_IDENTITY_ENABLED": "false"}) as kernel:
        ready = kernel.json()
        assert "trustDomain" not in ready
        with SiraProcess("--addr", ready["addresses"][0], "status") as asking:
            assert asking.wait() == ExitCode.OK
        assert kernel.interrupt() == ExitCode.OK


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a first start leaves behind."""
    folder = tmp_path_factory.mktemp("founded")
    with up(folder) as kernel:
        kernel.json()
        assert kernel.interrupt() == ExitCode.OK
    return folder


Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    ("damage", "variables", "complaint"),
    [
        (lambda own: own.chmod(0o755), {}, "identity.dir: .*identity is open to others .mode 755.: chmod 700 it"),
        (
            lambda own: (own / "encryption.key").chmod(0o644),
            {},
            "identity.dir: .*encryption.key is open to others .mode 644.: chmod 600 it",
        ),
        (lambda own: (own / "encryption.key").unlink(), {}, "identity.dir: .*encryption.key is not there"),
        (lambda own: (own / "encryption.key").write_text("00" * 32), {}, "identity.dir: .* does not open the private"),
        (lambda own: None, {"SIRA_IDENTITY_PASSPHRASE": "not what it was"}, "identity.passphrase: .*the key file"),
        (lambda own: None, {"SIRA_IDENTITY_TRUST_DOMAIN": "b.test"}, "identity.trust_domain: is 'b.test', but"),
        (
            lambda own: None,
            {"SIRA_IDENTITY_ENABLED": "false", "SIRA_SERVER_ADDRESSES": "0.0.0.0:0"},
            "server.addresses.0.: '0.0.0.0:0' can be reached from other machines and needs identity or",
        ),
    ],
)
def test_what_it_cannot_start_with_is_one_clear_line(
    founded: Path, tmp_path: Path, damage: Damage, variables: Mapping[str, str], complaint: str
) -> None:
    shutil.copytree(founded, tmp_path, symlinks=True, dirs_exist_ok=True)
    damage(tmp_path / "identity")
    with up(tmp_path, environment={**variables, "SIRA_LOG_LEVEL": "error"}) as kernel:
        assert kernel.wait() == ExitCode.USAGE
        (line,) = kernel.rest()
    assert re.match(f"sira: {complaint}", line), line


def test_a_passphrase_is_remembered(tmp_path: Path) -> None:
    right, wrong = ({"SIRA_IDENTITY_PASSPHRASE": text} for text in ("longer than that", "another one, as long"))
    with up(tmp_path, environment=right) as kernel:
        kernel.json()
        assert kernel.interrupt() == ExitCode.OK
    with up(tmp_path, environment=wrong) as kernel:
        kernel.chatter("sira: identity.passphrase: does not open the private keys in the store")
        assert kernel.wait() == ExitCode.USAGE


def spoken(address: str, version: str) -> bool:
    """Whether a server shakes hands with openssl in a version of TLS."""
    assert OPENSSL is not None
    done = subprocess.run(
        [OPENSSL, "s_client", "-connect", address, f"-{version}", "-brief"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    return "CONNECTION ESTABLISHED" in done.stderr


@needs_openssl
@pytest.mark.parametrize(
    ("variables", "old"),
    [
        ({}, False),
        ({"SIRA_SERVER_TLS_MIN_VERSION": "1.2"}, True),
        ({"GRPC_SSL_CIPHER_SUITES": "ECDHE-ECDSA-AES128-GCM-SHA256"}, True),
    ],
)
def test_the_oldest_version_of_tls(tmp_path: Path, variables: Mapping[str, str], old: bool) -> None:
    with up(tmp_path, environment=variables) as kernel:
        ready = kernel.json()
        (address,) = ready["tokenAddresses"]
        assert spoken(address, "tls1_3")
        assert spoken(address, "tls1_2") is old
        if not old:
            assert not spoken(ready["addresses"][0], "tls1_2")


@needs_openssl
@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
@pytest.mark.parametrize(("version", "old"), [("1.3", False), ("1.2", True)])
def test_the_oldest_version_of_tls_with_certificates_of_ones_own(
    tmp_path: Path, kind: str, version: str, old: bool
) -> None:
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    authority = Authority(now=time.time())
    made = Issued(authority.sign(key.public_key(), names=[x509.DNSName("localhost")]), key)
    (tmp_path / "cert.pem").write_bytes(x509_svid.to_pem([made.certificate]))
    (tmp_path / "key.pem").write_bytes(made.key_pem)
    variables = {
        "SIRA_SERVER_TLS_CERT_FILE": str(tmp_path / "cert.pem"),
        "SIRA_SERVER_TLS_KEY_FILE": str(tmp_path / "key.pem"),
        "SIRA_SERVER_TLS_MIN_VERSION": version,
    }
    with up(tmp_path, environment=variables) as kernel:
        ready = kernel.json()
        assert "trustDomain" not in ready
        (address,) = ready["addresses"]
        assert spoken(address, "tls1_3")
        assert spoken(address, "tls1_2") is old
