"""X.509-SVIDs: reads them, and verifies them against the roots of their trust domain.

Source: the SPIFFE standard, "The X.509 SPIFFE Verifiable Identity Document", sections 2 to 5; path validation is
that of pyca/cryptography, after RFC 5280.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from sira_grpc.svid.spiffe_id import SpiffeId

MAX_DEPTH = 4
"""Intermediates between a certificate and a root, at most."""


MALFORMED: tuple[type[Exception], ...] = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What pyca/cryptography raises for certificates and requests that it cannot read: not only ValueErrors."""


class SvidError(ValueError):
    """An SVID that does not count: malformed, of a trust domain that is not known, or not vouched for."""


class SvidExpired(SvidError):
    """An SVID that is not valid any more, or not yet."""


@dataclass(frozen=True, slots=True)
class X509Svid:
    """A verified X.509-SVID.

    Attributes:
        identity: the SPIFFE ID in it.
        serial: its serial number, lower-case hex.
        not_before, not_after: when it is valid, in Unix seconds.
    """

    identity: SpiffeId
    serial: str
    not_before: float
    not_after: float


def serial_of(certificate: x509.Certificate) -> str:
    """Returns the serial number as Sira writes it: lower-case hex, without leading zeros."""
    return format(certificate.serial_number, "x")


def identity_of(certificate: x509.Certificate) -> SpiffeId:
    """Returns the SPIFFE ID that a leaf certificate is for.

    Raises:
        SvidError: it has none or more than one, or is no leaf.
    """
    try:
        extensions = certificate.extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise SvidError("the certificate has no subject alternative name, and so no SPIFFE ID") from error
    except MALFORMED as error:
        raise SvidError(f"the certificate has malformed extensions: {error}") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise SvidError(f"the certificate must have one URI name, its SPIFFE ID, and has {len(uris)}")
    _check_leaf(extensions)
    try:
        return SpiffeId.parse(uris[0])
    except ValueError as error:
        raise SvidError(str(error)) from error


def verify(
    leaf: x509.Certificate,
    intermediates: Sequence[x509.Certificate],
    roots: Mapping[str, Sequence[x509.Certificate]],
    *,
    now: float,
) -> X509Svid:
    """Verifies a certificate and returns what it says.

    Args:
        leaf: what is verified.
        intermediates: that its holder sent with it.
        roots: root certificates by trust domain: those of one vouch for no identity of another.
        now: Unix seconds.

    Raises:
        SvidExpired: it is not valid any more, or not yet.
        SvidError: it is no X.509-SVID, its trust domain is not known, or no root of it vouches for it.
    """
    identity = identity_of(leaf)
    trusted = roots.get(identity.trust_domain)
    if not trusted:
        raise SvidError(f"the trust domain {identity.trust_domain!r} is not known here")
    not_before, not_after = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    if now > not_after:
        raise SvidExpired(f"the certificate of {identity} expired {now - not_after:.0f} s ago")
    if now < not_before:
        raise SvidExpired(f"the certificate of {identity} is valid only in {not_before - now:.0f} s")
    builder = PolicyBuilder().store(Store(list(trusted))).max_chain_depth(MAX_DEPTH)
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    try:
        builder.time(moment).build_client_verifier().verify(leaf, list(intermediates))
    except VerificationError as error:
        raise SvidError(f"no root of {identity.trust_domain} vouches for the certificate of {identity}") from error
    return X509Svid(identity, serial_of(leaf), not_before, not_after)


def read_pem(data: bytes) -> list[x509.Certificate]:
    """Reads certificates, PEM.

    Raises:
        SvidError: there is none, or one is malformed.
    """
    try:
        return x509.load_pem_x509_certificates(data)
    except MALFORMED as error:
        raise SvidError(f"is no PEM certificate: {error}") from error


def read_der(data: bytes) -> x509.Certificate:
    """Reads a certificate, DER.

    Raises:
        SvidError: it is malformed.
    """
    try:
        return x509.load_der_x509_certificate(data)
    except MALFORMED as error:
        raise SvidError(f"is no DER certificate: {error}") from error


def to_pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """Writes certificates, PEM."""
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def to_der(certificate: x509.Certificate) -> bytes:
    """Writes a certificate, DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


def _check_leaf(extensions: x509.Extensions) -> None:
    try:
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise SvidError("the certificate is an authority's, not a leaf")
    except x509.ExtensionNotFound:
        pass  # then it is a leaf
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        raise SvidError("the certificate does not say what its key is used for") from error
    if not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        raise SvidError("the certificate's key must be used for digital signatures, and not to sign certificates")
