"""OpenSSL's command, as somebody else's eyes on certificates."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509

from sira_grpc.svid.x509_svid import to_pem

COMMAND = shutil.which("openssl")
needed = pytest.mark.skipif(COMMAND is None, reason="openssl is not installed")


def openssl(*arguments: str | Path, given: bytes = b"") -> tuple[int, str]:
    """Runs it. Returns its exit code and all that it says."""
    assert COMMAND is not None
    run = subprocess.run([COMMAND, *map(str, arguments)], input=given, capture_output=True, timeout=30, check=False)
    return run.returncode, (run.stdout + run.stderr).decode(errors="replace")


def text(certificate: x509.Certificate) -> str:
    """What it reads in a certificate."""
    code, said = openssl("x509", "-noout", "-text", given=to_pem([certificate]))
    assert code == 0, said
    return said


def verified(
    folder: Path,
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    *options: str,
    crl: bytes = b"",
) -> tuple[bool, str]:
    """Whether it verifies a certificate, and what it says.

    Args:
        folder: for its files.
        options: further ones of `openssl verify`.
        crl: a revocation list, DER.
    """
    files = {"leaf": [leaf], "chain": intermediates, "roots": roots}
    for name, certificates in files.items():
        (folder / f"{name}.pem").write_bytes(to_pem(certificates))
    given: list[str | Path] = ["-CAfile", folder / "roots.pem", "-x509_strict", *options]
    if intermediates:
        given += ["-untrusted", folder / "chain.pem"]
    if crl:
        (folder / "crl.der").write_bytes(crl)
        code, said = openssl("crl", "-inform", "DER", "-in", folder / "crl.der", "-out", folder / "crl.pem")
        assert code == 0, said
        given += ["-CRLfile", folder / "crl.pem", "-crl_check"]
    code, said = openssl("verify", *given, folder / "leaf.pem")
    return code == 0, said
