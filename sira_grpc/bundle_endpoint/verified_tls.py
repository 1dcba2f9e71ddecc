"""TLS of a client that verifies a bundle endpoint: by authorities of the web, or as the holder of a SPIFFE ID."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509

from sira_grpc.clock import Clock
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.svid.x509_svid import SvidError, identity_of, read_der, to_der, verify


def web_context(ca_file: Path | None) -> ssl.SSLContext:
    """Returns a context for https_web: host names are checked.

    Args:
        ca_file: PEM file of authorities; None means the system's. Read now.

    Raises:
        ValueError: the file cannot be used; says so.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ValueError(f"the file of authorities {ca_file} cannot be used: {error.strerror or error}") from error


def spiffe_context(roots: Sequence[x509.Certificate], identity: str, clock: Clock) -> ssl.SSLContext:
    """Returns a context for https_spiffe: the server must show an X.509-SVID of an identity.

    It is verified twice in the handshake, before a byte of HTTP is sent: by OpenSSL, and by the rules of X.509-SVIDs.

    Args:
        roots: of the identity's trust domain.
        identity: SPIFFE ID.
        clock: the time at which the certificate must be valid.

    Raises:
        ValueError: the identity is none, or there are no roots.
    """
    wanted = SpiffeId.parse(identity)
    if not roots:
        raise ValueError(f"no root certificate of {wanted.trust_domain} is known")

    class Verified(ssl.SSLObject):
        """A connection whose handshake fails where the server is another one."""

        def do_handshake(self) -> None:
            """See ssl.SSLObject."""
            super().do_handshake()
            try:
                _check([read_der(der) for der in _chain(self)], wanted, roots, clock)
            except SvidError as error:
                # The only kind of error that asyncio expects of a handshake.
                refusal = ssl.SSLCertVerificationError(1, str(error))
                refusal.verify_message = str(error)
                raise refusal from error

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # an X.509-SVID says who it is by its SPIFFE ID
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a bundle may hold authorities that are no roots
    context.load_verify_locations(cadata=b"".join(map(to_der, roots)))
    context.sslobject_class = Verified
    return context


def _check(
    chain: Sequence[x509.Certificate], wanted: SpiffeId, roots: Sequence[x509.Certificate], clock: Clock
) -> None:
    """Checks what a server showed: its certificate, and the intermediates after it."""
    if not chain:
        raise SvidError("the server showed no certificate")
    found = identity_of(chain[0])
    if found != wanted:
        raise SvidError(f"it is of {found}, not of {wanted}")
    verify(chain[0], chain[1:], {wanted.trust_domain: roots}, now=clock.time_ns() / 1e9)


def _chain(connection: ssl.SSLObject) -> list[bytes]:
    """The certificates that a server sent, DER, its own first."""
    if sys.version_info >= (3, 13):
        return connection.get_unverified_chain()
    shown = connection._sslobj.get_unverified_chain()  # type: ignore[attr-defined] # noqa: SLF001  # not public before
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in shown or ()]
