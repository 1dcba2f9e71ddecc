"""An authority with its keys in the clear: a root, the intermediate below it that issues, and the key of its tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sira.identity.internal.v1.authority_record_pb2 import AuthorityRecord
from sira.identity.v1.trust_bundle_pb2 import JwtAuthority

from sira_grpc.identity.sealing import Sealer
from sira_grpc.svid import x509_svid


@dataclass(frozen=True)
class Authority:
    """An authority that can issue.

    Attributes:
        id: names it.
        record: as stored.
        root: its root certificate.
        intermediates: the one that issues first, then those between it and the root.
        issuing_key: private key of the first intermediate.
        jwt_key: signs tokens.
        root_key: None for an external authority.
    """

    id: str
    record: AuthorityRecord
    root: x509.Certificate
    intermediates: tuple[x509.Certificate, ...]
    issuing_key: ec.EllipticCurvePrivateKey
    jwt_key: ec.EllipticCurvePrivateKey
    root_key: ec.EllipticCurvePrivateKey | None

    @property
    def issuer(self) -> x509.Certificate:
        """The certificate that issues."""
        return self.intermediates[0]

    @property
    def external(self) -> bool:
        """Somebody else has the root's key."""
        return self.root_key is None

    @cached_property
    def chain(self) -> list[bytes]:
        """What goes after a certificate of it: the intermediates, DER."""
        return [x509_svid.to_der(certificate) for certificate in self.intermediates]

    @property
    def jwt_authority(self) -> JwtAuthority:
        """What its tokens are verified with."""
        return JwtAuthority(key_id=self.record.jwt_key_id, public_key=self.record.jwt_public_key)

    def __repr__(self) -> str:
        """Never the keys."""
        return f"Authority({self.id!r})"


def unseal(authority: str, record: AuthorityRecord, sealer: Sealer) -> Authority:
    """Returns an authority as it was stored.

    Raises:
        ConfigError: its keys were sealed with another key.
    """
    return Authority(
        id=authority,
        record=record,
        root=x509_svid.read_der(record.root),
        intermediates=tuple(x509_svid.read_der(der) for der in record.intermediates),
        issuing_key=open_key(sealer, record.intermediate_key, authority, "intermediate"),
        jwt_key=open_key(sealer, record.jwt_key, authority, "jwt"),
        root_key=open_key(sealer, record.root_key, authority, "root") if record.root_key else None,
    )


def seal_key(sealer: Sealer, key: ec.EllipticCurvePrivateKey, authority: str, use: str) -> bytes:
    """Returns a private key for the store: PKCS #8, sealed for this authority and this use."""
    plain = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return sealer.seal(plain, f"{authority}/{use}")


def open_key(sealer: Sealer, sealed: bytes, authority: str, use: str) -> ec.EllipticCurvePrivateKey:
    """Returns a private key from the store.

    Raises:
        ConfigError: it was sealed with another key.
    """
    key = serialization.load_der_private_key(sealer.open(sealed, f"{authority}/{use}"), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"the {use} key of authority {authority} is no elliptic key")
    return key
