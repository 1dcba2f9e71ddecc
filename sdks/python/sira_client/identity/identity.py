"""One identity: what a program proves itself with, and whom it trusts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc

_SCHEME = "spiffe://"


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity at one moment. It never changes: the next one is another value. Its repr shows no key.

    Attributes:
        svid: the certificate and its intermediates, PEM.
        key: its private key, PEM.
        bundle: root certificates of its trust domain, PEM.
        spiffe_id: the SPIFFE ID in the certificate; empty if there is none.
        federated: root certificates of other trust domains, PEM, by their names.
    """

    svid: bytes = field(repr=False)
    key: bytes = field(repr=False)
    bundle: bytes = field(repr=False)
    spiffe_id: str = ""
    federated: Mapping[str, bytes] = field(default_factory=dict, repr=False, hash=False)

    @property
    def trust_domain(self) -> str:
        """The trust domain in the SPIFFE ID; empty if there is none."""
        return self.spiffe_id.removeprefix(_SCHEME).partition("/")[0]

    def roots(self, *, federated: bool = False) -> bytes:
        """Root certificates, PEM: of its own trust domain, and of the others too if asked for."""
        others = self.federated.values() if federated else ()
        return b"\n".join([self.bundle, *others])

    def channel_credentials(self, *, federated: bool = False) -> grpc.ChannelCredentials:
        """Credentials for a channel over mutual TLS. They stay as they are when the identity is renewed.

        Args:
            federated: also trust the roots of other trust domains. gRPC does not look at which root vouches for which
                name: theirs may then vouch for names of this one too.
        """
        return grpc.ssl_channel_credentials(self.roots(federated=federated), self.key, self.svid)

    def server_configuration(self, *, federated: bool = False) -> grpc.ServerCertificateConfiguration:
        """What a server shows, and whom it trusts, in new connections. For `federated`, see channel_credentials."""
        return grpc.ssl_server_certificate_configuration([(self.key, self.svid)], self.roots(federated=federated))
