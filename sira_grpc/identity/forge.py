"""The forge: makes roots, intermediates, leaf certificates and revocation lists, as X.509 and SPIFFE want them."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from sira.identity.internal.v1.authority_record_pb2 import AuthorityRecord

from sira_grpc.errors import ConfigError
from sira_grpc.identity.authority import Authority, seal_key
from sira_grpc.identity.sealing import Sealer
from sira_grpc.svid import x509_svid
from sira_grpc.svid.jwt_svid import public_der
from sira_grpc.svid.signing_request import PublicKey
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.times import NANOS, timestamp

ID_BYTES = 5
SERIAL_BYTES = 20
CRL_HOURS = 24
_HASH = hashes.SHA256()


@dataclass(frozen=True, slots=True)
class Terms:
    """How authorities are made.

    Attributes:
        trust_domain: that they vouch for.
        root_ttl, intermediate_ttl: seconds.
        clock_skew: seconds by which certificates are valid earlier.
    """

    trust_domain: str
    root_ttl: float
    intermediate_ttl: float
    clock_skew: float


class Forge:
    """Makes certificates.

    Args:
        terms: see Terms.
        random_bytes: unpredictable.
    """

    def __init__(self, terms: Terms, random_bytes: Callable[[int], bytes]) -> None:
        self._terms = terms
        self._random_bytes = random_bytes

    def authority(self, sealer: Sealer, *, now_ns: int) -> Authority:
        """Makes an authority with a root of its own."""
        authority = self._random_bytes(ID_BYTES).hex()
        key = ec.generate_private_key(ec.SECP256R1())
        name = self._name(f"Sira root {authority}")
        builder = self._authority_builder(name, name, key.public_key(), self._terms.root_ttl, now_ns, path_length=1)
        root = builder.sign(key, _HASH)
        intermediate, issuing_key = self.intermediate(authority, root, key, now_ns=now_ns)
        record = AuthorityRecord(
            create_time=timestamp(now_ns),
            root=x509_svid.to_der(root),
            root_key=seal_key(sealer, key, authority, "root"),
        )
        return self._complete(authority, record, sealer, [intermediate], issuing_key, root, key)

    def external_authority(
        self, sealer: Sealer, chain: Sequence[x509.Certificate], key: ec.EllipticCurvePrivateKey, *, now_ns: int
    ) -> Authority:
        """Takes in an authority by somebody else: the intermediate that issues, those above it, and the root."""
        authority = self._random_bytes(ID_BYTES).hex()
        *intermediates, root = chain
        record = AuthorityRecord(create_time=timestamp(now_ns), root=x509_svid.to_der(root))
        return self._complete(authority, record, sealer, intermediates, key, root, None)

    def renewed(self, authority: Authority, sealer: Sealer, *, now_ns: int) -> Authority:
        """Returns an authority with a new intermediate. Its root must be its own."""
        if authority.root_key is None:
            raise ValueError("the root's key is not here")
        intermediate, key = self.intermediate(authority.id, authority.root, authority.root_key, now_ns=now_ns)
        record = AuthorityRecord()
        record.CopyFrom(authority.record)
        record.intermediates[:] = [x509_svid.to_der(intermediate)]
        record.intermediate_key = seal_key(sealer, key, authority.id, "intermediate")
        return Authority(
            authority.id, record, authority.root, (intermediate,), key, authority.jwt_key, authority.root_key
        )

    def intermediate(
        self, authority: str, root: x509.Certificate, root_key: ec.EllipticCurvePrivateKey, *, now_ns: int
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """Makes an intermediate below a root, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = self._name(f"Sira intermediate {authority}-{self._random_bytes(2).hex()}")
        left = root.not_valid_after_utc.timestamp() - now_ns / NANOS
        ttl = min(self._terms.intermediate_ttl, left)
        builder = self._authority_builder(name, root.subject, key.public_key(), ttl, now_ns, path_length=0)
        builder = builder.add_extension(_issuer_key(root), critical=False)
        return builder.sign(root_key, _HASH), key

    def leaf(
        self,
        authority: Authority,
        identity: SpiffeId,
        names: Iterable[x509.GeneralName],
        public_key: PublicKey,
        *,
        now_ns: int,
        ttl: float,
    ) -> x509.Certificate:
        """Makes a leaf certificate, for servers and clients alike, that does not outlive its issuer.

        Args:
            authority: that issues it.
            identity: whom it is for.
            names: DNS names and addresses besides.
            public_key: of its holder.
            now_ns: Unix nanoseconds.
            ttl: seconds from now.

        Raises:
            ConfigError: the issuer has expired.
        """
        end = min(_moment(now_ns, ttl), authority.issuer.not_valid_after_utc)
        if end <= _moment(now_ns, 0):
            raise ConfigError(f"identity: the intermediate of authority {authority.id} expired at {end}")
        alternatives = [x509.UniformResourceIdentifier(str(identity)), *names]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return (
            x509.CertificateBuilder()
            .subject_name(self._name(identity.segments[-1][:64]))
            .issuer_name(authority.issuer.subject)
            .public_key(public_key)
            .serial_number(self._serial())
            .not_valid_before(_moment(now_ns, -self._terms.clock_skew))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(_issuer_key(authority.issuer), critical=False)
            .sign(authority.issuing_key, _HASH)
        )

    def crl(self, authority: Authority, revoked: Iterable[tuple[str, int]], *, now_ns: int) -> bytes:
        """Makes a certificate revocation list, DER, that is valid for a day.

        Args:
            authority: whose certificates they are.
            revoked: serial numbers, and when they were revoked in Unix nanoseconds.
            now_ns: Unix nanoseconds.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(authority.issuer.subject)
            .last_update(_moment(now_ns, -self._terms.clock_skew))
            .next_update(_moment(now_ns, CRL_HOURS * 3600))
            .add_extension(_issuer_key(authority.issuer), critical=False)
            .add_extension(x509.CRLNumber(now_ns), critical=False)
        )
        for serial, time_ns in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16))
            builder = builder.add_revoked_certificate(entry.revocation_date(_moment(time_ns, 0)).build())
        return builder.sign(authority.issuing_key, _HASH).public_bytes(Encoding.DER)

    def _complete(
        self,
        authority: str,
        record: AuthorityRecord,
        sealer: Sealer,
        intermediates: Sequence[x509.Certificate],
        issuing_key: ec.EllipticCurvePrivateKey,
        root: x509.Certificate,
        root_key: ec.EllipticCurvePrivateKey | None,
    ) -> Authority:
        """Adds to a record what every authority has."""
        jwt_key = ec.generate_private_key(ec.SECP256R1())
        record.intermediates.extend(x509_svid.to_der(certificate) for certificate in intermediates)
        record.intermediate_key = seal_key(sealer, issuing_key, authority, "intermediate")
        record.jwt_key = seal_key(sealer, jwt_key, authority, "jwt")
        record.jwt_public_key = public_der(jwt_key.public_key())
        record.jwt_key_id = self._random_bytes(16).hex()
        return Authority(authority, record, root, tuple(intermediates), issuing_key, jwt_key, root_key)

    def _authority_builder(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        key: ec.EllipticCurvePublicKey,
        ttl: float,
        now_ns: int,
        *,
        path_length: int,
    ) -> x509.CertificateBuilder:
        domain = x509.UniformResourceIdentifier(f"spiffe://{self._terms.trust_domain}")
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(self._serial())
            .not_valid_before(_moment(now_ns, -self._terms.clock_skew))
            .not_valid_after(_moment(now_ns, ttl))
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectAlternativeName([domain]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )

    def _name(self, common: str) -> x509.Name:
        organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, self._terms.trust_domain[:64])
        return x509.Name([organization, x509.NameAttribute(NameOID.COMMON_NAME, common)])

    def _serial(self) -> int:
        """159 random bits, and above 0: X.509 wants at most 20 bytes, as a positive number."""
        return (int.from_bytes(self._random_bytes(SERIAL_BYTES)) >> 1) | (1 << 158)


def general_names(names: Iterable[str]) -> list[x509.GeneralName]:
    """Returns DNS names and IP addresses as a certificate holds them."""
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _issuer_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


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


def _moment(now_ns: int, seconds: float) -> datetime.datetime:
    """A time so many seconds from one in nanoseconds, to the second, as certificates have it."""
    return datetime.datetime.fromtimestamp(round(now_ns / NANOS + seconds), datetime.UTC)
