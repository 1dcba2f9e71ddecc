"""The oldest version of TLS that this process speaks: gRPC for Python has no setting for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sira_grpc.config import KernelConfig, TlsConfig

VARIABLE = "GRPC_SSL_CIPHER_SUITES"
FOR_RSA = "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384"
FOR_ECDSA = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"


def enforce(config: KernelConfig) -> None:
    """Keeps this process from speaking TLS 1.2, if server.tls.min_version says so.

    gRPC reads one variable that matters when it is first used: the cipher suites for TLS 1.2, which do not concern
    TLS 1.3. A suite for TLS 1.2 goes with one kind of key, so with nothing but suites for keys of the kind that the
    server's certificate does not have, no handshake of TLS 1.2 can succeed. Must be called before grpc is imported.

    What the user has set is left alone, and then TLS 1.2 may be spoken.
    """
    if config.server.tls.min_version == "1.3" and (config.identity.enabled or config.server.tls.enabled):
        os.environ.setdefault(VARIABLE, _unusable(config.server.tls))


def _unusable(tls: TlsConfig) -> str:
    """Suites that the server's certificate cannot be used with. Those of the kernel's own making are ECDSA ones."""
    return FOR_ECDSA if tls.enabled and _has_rsa_key(tls.cert_file) else FOR_RSA


def _has_rsa_key(path: str) -> bool:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import rsa

    try:
        return isinstance(x509.load_pem_x509_certificates(Path(path).read_bytes())[0].public_key(), rsa.RSAPublicKey)
    except (OSError, ValueError):
        return False  # the kernel says soon enough what is wrong with it
