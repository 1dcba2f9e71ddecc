"""TLS credentials of the server, from PEM files that are checked before gRPC sees them."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from sira_grpc.config import TlsConfig
from sira_grpc.errors import ConfigError


def server_credentials(tls: TlsConfig) -> grpc.ServerCredentials:
    """Reads the files and returns credentials for a secure port.

    Raises:
        ConfigError: a file cannot be read, holds no certificate or key, or the key is not that of the certificate.
            Names the key of the configuration. gRPC itself would only say that it cannot bind.
    """
    certificate = _read("cert_file", tls.cert_file)
    key = _read("key_file", tls.key_file)
    authorities = _read("client_ca_file", tls.client_ca_file) if tls.client_ca_file else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # An encrypted key is refused: there is nobody to ask for its password.
        context.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"server.tls.key_file: {tls.key_file} and server.tls.cert_file: {tls.cert_file} "
            f"are no unencrypted PEM key and its certificate: {error}"
        ) from error
    if authorities is not None:
        try:
            context.load_verify_locations(tls.client_ca_file)
        except ssl.SSLError as error:
            raise ConfigError(
                f"server.tls.client_ca_file: {tls.client_ca_file} holds no PEM certificate: {error}"
            ) from error
    return grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=authorities, require_client_auth=tls.client_auth == "required"
    )


def _read(field: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"server.tls.{field}: {path} cannot be read: {error.strerror}") from error
