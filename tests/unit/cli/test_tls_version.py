"""How TLS 1.2 is kept out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sira_grpc.cli import tls_version
from sira_grpc.config import IdentityConfig, KernelConfig, ServerConfig, TlsConfig
from sira_grpc.svid import x509_svid
from tests.unit.svid.authority import Authority


@pytest.fixture(autouse=True)
def variable(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing is set, and nothing stays set."""
    monkeypatch.setenv(tls_version.VARIABLE, "")
    monkeypatch.delenv(tls_version.VARIABLE)
    return monkeypatch


def enforced(config: KernelConfig) -> str | None:
    tls_version.enforce(config)
    return os.environ.get(tls_version.VARIABLE)


def static(folder: Path, *, rsa_key: bool, version: Literal["1.2", "1.3"] = "1.3") -> KernelConfig:
    issued = Authority().issue(key=rsa.generate_private_key(65537, 2048) if rsa_key else None)
    (folder / "cert.pem").write_bytes(x509_svid.to_pem([issued.certificate]))
    tls = TlsConfig(cert_file=str(folder / "cert.pem"), key_file="unread", min_version=version)
    return KernelConfig(server=ServerConfig(tls=tls))


def test_the_kernels_own_certificates_are_kept_from_suites_for_rsa_keys() -> None:
    assert enforced(KernelConfig(identity=IdentityConfig(enabled=True))) == tls_version.FOR_RSA


@pytest.mark.parametrize(("rsa_key", "suites"), [(True, tls_version.FOR_ECDSA), (False, tls_version.FOR_RSA)])
def test_static_certificates_are_kept_from_suites_for_the_other_kind_of_key(
    tmp_path: Path, rsa_key: bool, suites: str
) -> None:
    assert enforced(static(tmp_path, rsa_key=rsa_key)) == suites


def test_nothing_is_set_without_tls_or_for_an_older_version(tmp_path: Path) -> None:
    assert enforced(KernelConfig()) is None
    assert enforced(static(tmp_path, rsa_key=False, version="1.2")) is None


def test_what_the_user_has_set_stays(variable: pytest.MonkeyPatch) -> None:
    variable.setenv(tls_version.VARIABLE, "mine")
    assert enforced(KernelConfig(identity=IdentityConfig(enabled=True))) == "mine"


def test_a_file_that_cannot_be_read_is_the_kernels_to_complain_of() -> None:
    tls = TlsConfig(cert_file="/nowhere", key_file="/nowhere")
    assert enforced(KernelConfig(server=ServerConfig(tls=tls))) == tls_version.FOR_RSA
