"""A certificate authority for tests, and the files of whom it vouches for."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Holder:
    """A certificate and its key, in PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        certificate = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(_pem(certificate.sign(self._key, hashes.SHA256())))

    def issue(self, name: str, *names: x509.GeneralName) -> Holder:
        """Issues a certificate with a common name and alternative ones."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_named(name), key)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        holder = Holder(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        holder.certificate.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))
        holder.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return holder

    def server(self) -> Holder:
        """Issues the certificate of a server on this machine."""
        return self.issue("server", x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))

    def trust(self, client: Holder | None = None) -> grpc.ChannelCredentials:
        """Credentials of a client that trusts this authority, and shows its own certificate if it has one."""
        if client is None:
            return grpc.ssl_channel_credentials(self.file.read_bytes())
        return grpc.ssl_channel_credentials(
            self.file.read_bytes(), client.key.read_bytes(), client.certificate.read_bytes()
        )

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
