"""A trust domain for tests: its roots, and identities that they vouch for."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sira_client import Identity

DOMAIN = "example.org"
KERNEL = f"spiffe://{DOMAIN}/member/one"
CALLER = f"spiffe://{DOMAIN}/ns/default/svc/caller"
ECHO = f"spiffe://{DOMAIN}/ns/default/svc/echo"
NAMES = {KERNEL: f"kernel.{DOMAIN}", ECHO: f"echo.default.{DOMAIN}", CALLER: f"caller.default.{DOMAIN}"}
HOUR = datetime.timedelta(hours=1)


class Root:
    """A root, and the intermediate below it that issues."""

    def __init__(self, name: str = "root") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._issuing = ec.generate_private_key(ec.SECP256R1())
        self._name, self._issuer = _named(name), _named(f"{name} issuing")
        self.certificate = self._signed(self._name, self._key, self._name, self._key, ca=True)
        self._intermediate = self._signed(self._issuer, self._issuing, self._name, self._key, ca=True)

    @property
    def pem(self) -> bytes:
        return to_pem(self.certificate)

    def identity(
        self,
        spiffe_id: str = CALLER,
        *others: Root,
        federated: Mapping[str, bytes] | None = None,
        names: tuple[x509.GeneralName, ...] | None = None,
    ) -> Identity:
        """Issues an identity that trusts this root, and others."""
        if names is None:
            names = (x509.UniformResourceIdentifier(spiffe_id), x509.DNSName(NAMES.get(spiffe_id, "nobody")))
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._signed(_named("leaf"), key, self._issuer, self._issuing, ca=False, names=names)
        return Identity(
            svid=to_pem(leaf, self._intermediate),
            key=key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            bundle=self.pem + b"".join(other.pem for other in others),
            spiffe_id=spiffe_id,
            federated=federated or {},
        )

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        issuer: x509.Name,
        signer: ec.EllipticCurvePrivateKey,
        *,
        ca: bool,
        names: tuple[x509.GeneralName, ...] = (),
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - HOUR)
            .not_valid_after(now + HOUR)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(signer, hashes.SHA256())


def local_names(spiffe_id: str) -> tuple[x509.GeneralName, ...]:
    """Names of a server that is called by its address."""
    return (x509.UniformResourceIdentifier(spiffe_id), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))


def write_plain(folder: Path, identity: Identity) -> None:
    """Writes the files of an identity one by one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "svid.pem").write_bytes(identity.svid)
    (folder / "key.pem").write_bytes(identity.key)
    (folder / "bundle.pem").write_bytes(identity.bundle)
    (folder / "federated").mkdir(exist_ok=True)
    for domain, roots in identity.federated.items():
        (folder / "federated" / f"{domain}.pem").write_bytes(roots)


def to_pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def to_der(pem: bytes) -> bytes:
    """The certificates of a PEM file, DER, one after the other."""
    return b"".join(
        certificate.public_bytes(serialization.Encoding.DER) for certificate in x509.load_pem_x509_certificates(pem)
    )


def key_to_der(pem: bytes) -> bytes:
    key = serialization.load_pem_private_key(pem, None)
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
