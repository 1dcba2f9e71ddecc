"""A root, an intermediate and a key for tokens, for tests: what the kernel's authorities are made of."""

from __future__ import annotations

import datetime
import itertools
import secrets
from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from sira.identity.v1.trust_bundle_pb2 import JwtAuthority, TrustBundle

from sira_grpc.svid import x509_svid
from sira_grpc.svid.jwt_svid import public_der
from sira_grpc.svid.spiffe_id import SpiffeId

_numbers = itertools.count(1)
SKEW = 300
"""Seconds by which certificates are valid earlier."""


class AuthorityDouble:
    """Issues certificates of a trust domain, below an intermediate."""

    def __init__(self, trust_domain: str) -> None:
        self.id = f"authority-{next(_numbers)}"
        self.trust_domain = trust_domain
        self.root_key = ec.generate_private_key(ec.SECP256R1())
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.jwt_key = ec.generate_private_key(ec.SECP256R1())
        root_name, name = _name(f"root {self.id}"), _name(f"intermediate {self.id}")
        self.root = self._ca(root_name, root_name, self.root_key)
        self.intermediate = self._ca(name, root_name, self.key)

    @property
    def root_der(self) -> bytes:
        return x509_svid.to_der(self.root)

    @property
    def jwt_authority(self) -> JwtAuthority:
        return JwtAuthority(key_id=self.id, public_key=public_der(self.jwt_key.public_key()))

    def leaf(
        self,
        identity: SpiffeId,
        names: Iterable[x509.GeneralName],
        public_key: ec.EllipticCurvePublicKey,
        *,
        now: float,
        ttl: float,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(identity.segments[-1]))
            .issuer_name(self.intermediate.subject)
            .public_key(public_key)
            .serial_number(int.from_bytes(secrets.token_bytes(16)) | 1 << 126)
            .not_valid_before(_moment(now - SKEW))
            .not_valid_after(_moment(now + ttl))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity)), *names]), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        return builder.sign(self.key, hashes.SHA256())

    def crl(self, serials: Sequence[int], *, now: float) -> bytes:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.intermediate.subject)
            .last_update(_moment(now - SKEW))
            .next_update(_moment(now + 86_400))
        )
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_moment(now)).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def _ca(self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC).timestamp()
        domain = x509.UniformResourceIdentifier(f"spiffe://{self.trust_domain}")
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_moment(now - 2 * SKEW))
            .not_valid_after(_moment(now + 864_000))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectAlternativeName([domain]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.root_key.public_key()), critical=False
            )
            .sign(self.root_key, hashes.SHA256())
        )


def bundle_of(trust_domain: str, *authorities: AuthorityDouble, sequence: int = 1) -> TrustBundle:
    """The trust bundle of some authorities."""
    return TrustBundle(
        trust_domain=trust_domain,
        x509_authorities=[authority.root_der for authority in authorities],
        jwt_authorities=[authority.jwt_authority for authority in authorities],
        sequence=sequence,
    )


def pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(round(seconds), datetime.UTC)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
