"""Certificate authorities of trust domains, which also issue what no real one would."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NOW = 1_800_000_000
LIFETIME = 86_400
"""Seconds. Modules issue when they are collected: it must outlast every test that is run after that."""
IDENTITY = "spiffe://a.test/ns/default/svc/checkout"
SIGNATURE, CERTIFICATES = "digital_signature", "key_cert_sign"
_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(  # type: ignore[no-any-return]  # it is any kind of key
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


class Authority:
    """A root, or an intermediate below an issuer.

    Args:
        name: of the subject; the same names of different authorities are what an impostor would use.
        issuer: None for a root.
        now: Unix seconds around which its certificates are valid.
        key: a new one by default.
        more: further arguments of `sign`.
    """

    def __init__(
        self, name: str = "root", *, issuer: Authority | None = None, now: float = NOW, key: Any = None, **more: Any
    ) -> None:
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.now = now
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        how: dict[str, Any] = {"ca": True, "uses": (CERTIFICATES,)} | more
        self.certificate = (issuer or self).sign(self.key.public_key(), subject=self.name, **how)

    def issue(self, *uris: str, key: Any = None, **more: Any) -> Issued:
        """Makes a key, if none is given, and a certificate for it."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        names = tuple(x509.UniformResourceIdentifier(uri) for uri in uris or (IDENTITY,))
        return Issued(self.sign(key.public_key(), names=names, **more), key)

    def sign(
        self,
        public_key: Any,
        *,
        subject: x509.Name | None = None,
        names: Sequence[x509.GeneralName] = (),
        ca: bool | None = False,
        path_length: int | None = None,
        uses: Sequence[str] | None = (SIGNATURE,),
        start: float = -60,
        end: float = LIFETIME,
        extensions: Sequence[x509.ExtensionType] = (),
    ) -> x509.Certificate:
        """Makes a certificate.

        Args:
            ca, uses: None leaves the extension out.
            start, end: seconds from now.
        """
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject or x509.Name([]))
            .issuer_name(self.name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_moment(self.now + start))
            .not_valid_after(_moment(self.now + end))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=subject is None)
        if ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
        if uses is not None:
            usage = x509.KeyUsage(**{use: use in uses for use in _USES})
            builder = builder.add_extension(usage, critical=True)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())


def _moment(time: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(time, datetime.UTC)
