"""An X.509-SVID together with its private key, in the forms in which it is handed on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sira.identity.v1.identity_service_pb2 import IssueCertificateResponse

from sira_grpc.svid import x509_svid
from sira_grpc.svid.identity_directory import IdentityFiles
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.svid.x509_svid import SvidError


@dataclass(frozen=True)
class KeyedSvid:
    """An X.509-SVID that was verified, and its key.

    Attributes:
        identity: the SPIFFE ID.
        chain: the certificate and its intermediates, DER.
        key: the private key, PKCS #8 DER.
        serial: the certificate's serial number, lower-case hex.
        authority: id of the authority that issued it; empty where it is not known.
        not_after: when it expires, in Unix seconds.
        renew_at: when it is due to be renewed, in Unix seconds.
    """

    identity: SpiffeId
    chain: tuple[bytes, ...]
    key: bytes = field(repr=False)
    serial: str
    authority: str
    not_after: float
    renew_at: float

    @cached_property
    def dns_names(self) -> tuple[str, ...]:
        """The DNS names in the certificate besides the one that comes with the identity: to be asked for again."""
        names = x509_svid.read_der(self.chain[0]).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return tuple(name for name in names.get_values_for_type(x509.DNSName) if name != self.identity.dns_name)

    @cached_property
    def chain_der(self) -> bytes:
        """The chain as the Workload API has it."""
        return b"".join(self.chain)

    @cached_property
    def chain_pem(self) -> bytes:
        """The chain as files have it."""
        return x509_svid.to_pem([x509_svid.read_der(der) for der in self.chain])

    @cached_property
    def key_pem(self) -> bytes:
        """The key as files have it."""
        key = serialization.load_der_private_key(self.key, None)
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def accept(
    response: IssueCertificateResponse, key: ec.EllipticCurvePrivateKey, identity: SpiffeId, *, now: float
) -> KeyedSvid:
    """Returns what the kernel issued, if it is what was asked for.

    Args:
        response: the kernel's.
        key: that the certificate was asked for.
        identity: that it was asked for.
        now: Unix seconds.

    Raises:
        SvidError: it is for another key or identity, or the bundle that came with it does not vouch for it.
    """
    chain = [x509_svid.read_der(der) for der in response.chain]
    verified = _verify(chain, key, response.bundle.x509_authorities, identity, now)
    return KeyedSvid(
        identity=identity,
        chain=tuple(response.chain),
        key=_key_der(key),
        serial=verified.serial,
        authority=response.certificate.authority,
        not_after=verified.not_after,
        renew_at=response.renew_time.seconds + response.renew_time.nanos / 1e9,
    )


def from_files(files: IdentityFiles, *, now: float) -> KeyedSvid:
    """Returns what an identity directory holds.

    Args:
        files: what was read from it.
        now: Unix seconds.

    Raises:
        SvidExpired: the certificate has expired, or is not valid yet.
        SvidError: it is malformed, the key is not its own, or the bundle does not vouch for it.
    """
    chain = x509_svid.read_pem(files.svid)
    roots = [x509_svid.to_der(root) for root in x509_svid.read_pem(files.bundle)]
    key = _read_key(files.key)
    verified = _verify(chain, key, roots, x509_svid.identity_of(chain[0]), now)
    return KeyedSvid(
        identity=verified.identity,
        chain=tuple(x509_svid.to_der(certificate) for certificate in chain),
        key=_key_der(key),
        serial=verified.serial,
        authority="",
        not_after=verified.not_after,
        renew_at=(verified.not_before + verified.not_after) / 2,
    )


def _verify(
    chain: Sequence[x509.Certificate],
    key: ec.EllipticCurvePrivateKey,
    roots: Iterable[bytes],
    identity: SpiffeId,
    now: float,
) -> x509_svid.X509Svid:
    if not chain:
        raise SvidError("there is no certificate")
    if chain[0].public_key() != key.public_key():
        raise SvidError("the certificate is not that of the key")
    trusted: Mapping[str, list[x509.Certificate]] = {
        identity.trust_domain: [x509_svid.read_der(root) for root in roots]
    }
    verified = x509_svid.verify(chain[0], chain[1:], trusted, now=now)
    if verified.identity != identity:
        raise SvidError(f"the certificate is for {verified.identity}, not for {identity}")
    return verified


def _read_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise SvidError(f"the key is no unencrypted PEM key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SvidError("the key is no elliptic key")
    return key


def _key_der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
