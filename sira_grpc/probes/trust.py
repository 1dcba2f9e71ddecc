"""The trust roots that probes verify endpoints against."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from sira_grpc.errors import ConfigError


@dataclass(frozen=True, slots=True)
class TrustRoots:
    """The same roots in the two forms that the TLS stacks take. Certificates must carry the name that is probed."""

    context: ssl.SSLContext
    credentials: grpc.ChannelCredentials

    @classmethod
    def load(cls, tls_ca_file: Path | None) -> TrustRoots:
        """Reads a PEM file of certificates; None means the machine's own, or gRPC's where the machine has none.

        Raises:
            ConfigError: the file cannot be read or holds no certificate.
        """
        if tls_ca_file is None:
            context = ssl.create_default_context()
            roots = "".join(map(ssl.DER_cert_to_PEM_cert, context.get_ca_certs(binary_form=True)))
            return cls(context, grpc.ssl_channel_credentials(root_certificates=roots.encode() or None))
        try:
            pem = tls_ca_file.read_bytes()
        except OSError as error:
            raise ConfigError(f"tls_ca_file: cannot read {tls_ca_file}: {error.strerror}") from error
        try:
            context = ssl.create_default_context(cadata=pem.decode("ascii") or "empty")
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(f"tls_ca_file: {tls_ca_file} is not a PEM file of certificates") from error
        return cls(context, grpc.ssl_channel_credentials(root_certificates=pem))
