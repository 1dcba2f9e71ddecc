"""Whom probes trust, and what they show: roots, or the kernel's own identity."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc
from sira.registry.v1.endpoint_pb2 import Endpoint

from sira_grpc.errors import ConfigError
from sira_grpc.identity.member import Credentials
from sira_grpc.svid.spiffe_id import SpiffeId


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


class GrpcTrust(Protocol):
    """What a gRPC connection to an endpoint is made with."""

    def credentials(self) -> grpc.ChannelCredentials:
        """Returns the credentials of a new connection, as of now."""

    def server_name(self, endpoint: Endpoint) -> str:
        """Returns the name that the endpoint's certificate must carry; empty for the address that is probed."""


class RootsTrust:
    """Implements GrpcTrust: verifies the endpoint by the roots, and shows nothing."""

    def __init__(self, roots: TrustRoots) -> None:
        self._credentials = roots.credentials

    def credentials(self) -> grpc.ChannelCredentials:
        """See GrpcTrust."""
        return self._credentials

    def server_name(self, endpoint: Endpoint) -> str:
        """See GrpcTrust."""
        return ""


@dataclass(frozen=True, slots=True)
class ProberIdentity:
    """The kernel's own identity, as probes use it.

    Attributes:
        trust_domain: of the kernel and of the endpoints.
        credentials: returns the kernel's own credentials as they are.
    """

    trust_domain: str
    credentials: Callable[[], Credentials]


class SvidTrust:
    """Implements GrpcTrust: shows the kernel's certificate, and wants one of the endpoint's own service."""

    def __init__(self, identity: ProberIdentity) -> None:
        self._identity = identity
        self._made: tuple[Credentials, grpc.ChannelCredentials] | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """See GrpcTrust."""
        current = self._identity.credentials()
        if self._made is None or self._made[0] is not current:
            self._made = (current, grpc.ssl_channel_credentials(current.roots, current.key, current.chain))
        return self._made[1]

    def server_name(self, endpoint: Endpoint) -> str:
        """See GrpcTrust."""
        _, namespace, _, service, _, _ = endpoint.name.split("/")
        return SpiffeId(self._identity.trust_domain, ("ns", namespace, "svc", service)).dns_name
