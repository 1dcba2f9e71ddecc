"""Whom the agent's host trusts: bundles, revocation lists and the authority that issues, as the kernel last said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sira.identity.v1.identity_service_pb2 import WatchTrustBundlesResponse
from sira.identity.v1.trust_bundle_pb2 import TrustBundle

from sira_grpc.svid import bundle_document, x509_svid
from sira_grpc.svid.identity_directory import IdentityFiles
from sira_grpc.svid.jwt_svid import PublicKey
from sira_grpc.svid.spiffe_id import SCHEME, check_trust_domain
from sira_grpc.times import seconds


@dataclass(frozen=True)
class Trust:
    """One state of it. Immutable, so what is made of it is made once.

    Attributes:
        bundle: of the agent's own trust domain.
        federated: those of others.
        crls: revocation lists of the own trust domain, DER.
        authority: id of the authority that issues; empty where it is not known.
        renew_within: seconds over which to spread renewals when another authority issues.
    """

    bundle: TrustBundle
    federated: tuple[TrustBundle, ...] = ()
    crls: tuple[bytes, ...] = ()
    authority: str = ""
    renew_within: float = field(default=0.0, compare=False)

    @property
    def trust_domain(self) -> str:
        """The agent's own."""
        return self.bundle.trust_domain

    @cached_property
    def roots_pem(self) -> bytes:
        """Root certificates of the own trust domain, PEM."""
        return _pem(self.bundle)

    @cached_property
    def roots_der(self) -> bytes:
        """Root certificates of the own trust domain, DER one after the other."""
        return b"".join(self.bundle.x509_authorities)

    @cached_property
    def federated_pem(self) -> Mapping[str, bytes]:
        """Root certificates of the others, PEM, by trust domain."""
        return {bundle.trust_domain: _pem(bundle) for bundle in self.federated if bundle.x509_authorities}

    @cached_property
    def federated_der(self) -> Mapping[str, bytes]:
        """Root certificates of the others, DER one after the other, by the trust domain's SPIFFE ID."""
        return {
            SCHEME + bundle.trust_domain: b"".join(bundle.x509_authorities)
            for bundle in self.federated
            if bundle.x509_authorities
        }

    @cached_property
    def crls_pem(self) -> bytes:
        """The revocation lists, PEM."""
        return b"".join(crl.public_bytes(Encoding.PEM) for crl in self._crls)

    @cached_property
    def jwt_documents(self) -> Mapping[str, bytes]:
        """JWK sets that JWT-SVIDs are verified with, by the trust domain's SPIFFE ID."""
        return {
            SCHEME + bundle.trust_domain: bundle_document.write(bundle, uses=(bundle_document.JWT,))
            for bundle in (self.bundle, *self.federated)
            if bundle.jwt_authorities
        }

    @cached_property
    def jwt_keys(self) -> Mapping[str, Mapping[str, PublicKey]]:
        """Keys that JWT-SVIDs are verified with, by trust domain and key id."""
        return {
            bundle.trust_domain: dict(bundle_document.jwt_keys(bundle)) for bundle in (self.bundle, *self.federated)
        }

    @cached_property
    def _crls(self) -> Sequence[x509.CertificateRevocationList]:
        return [x509.load_der_x509_crl(der) for der in self.crls]

    def revokes(self, serial: str) -> bool:
        """Whether a certificate of the own trust domain is revoked."""
        number = int(serial, 16)
        return any(crl.get_revoked_certificate_by_serial_number(number) is not None for crl in self._crls)

    def check(self) -> Trust:
        """Returns itself if it can be used.

        Raises:
            ValueError: a part of it is malformed; says which.
        """
        if not self.bundle.x509_authorities:
            raise ValueError(f"the bundle of {self.trust_domain} holds no root certificate")
        for bundle in (self.bundle, *self.federated):
            try:
                check_trust_domain(bundle.trust_domain)
                _pem(bundle)
                dict(bundle_document.jwt_keys(bundle))
            except ValueError as error:
                raise ValueError(f"the bundle of {bundle.trust_domain!r}: {error}") from error
        try:
            len(self._crls)
        except ValueError as error:
            raise ValueError(f"a revocation list of {self.trust_domain} is malformed: {error}") from error
        return self


def from_watch(message: WatchTrustBundlesResponse, trust_domain: str) -> Trust:
    """Returns what the kernel said.

    Args:
        message: the kernel's.
        trust_domain: the agent's own.

    Raises:
        ValueError: it is malformed, or of another trust domain.
    """
    if message.bundle.trust_domain != trust_domain:
        raise ValueError(f"the kernel's trust domain is {message.bundle.trust_domain!r}, not {trust_domain!r}")
    others = sorted(_others(message.federated, trust_domain), key=lambda bundle: bundle.trust_domain)
    within = seconds(message.renew_within)
    return Trust(message.bundle, tuple(others), tuple(message.crls), message.issuing_authority, within).check()


def from_files(files: IdentityFiles, trust_domain: str) -> Trust:
    """Returns what an identity directory tells of it: all but the keys of JWT-SVIDs.

    Raises:
        ValueError: it is malformed.
    """
    federated = [_bundle(domain, pem) for domain, pem in sorted(files.federated.items())]
    crls = x509_crls(files.crl)
    return Trust(_bundle(trust_domain, files.bundle), tuple(federated), crls).check()


def x509_crls(pem: bytes) -> tuple[bytes, ...]:
    """Reads revocation lists, PEM; there may be none.

    Raises:
        ValueError: one is malformed.
    """
    end = b"-----END X509 CRL-----"
    parts = [part + end for part in pem.split(end)[:-1]]
    return tuple(x509.load_pem_x509_crl(part).public_bytes(Encoding.DER) for part in parts)


def _others(bundles: Iterable[TrustBundle], own: str) -> list[TrustBundle]:
    """Those of other trust domains: nobody else may speak for the own one."""
    return [bundle for bundle in bundles if bundle.trust_domain != own]


def _bundle(trust_domain: str, pem: bytes) -> TrustBundle:
    roots = [x509_svid.to_der(root) for root in x509_svid.read_pem(pem)]
    return TrustBundle(trust_domain=trust_domain, x509_authorities=roots)


def _pem(bundle: TrustBundle) -> bytes:
    return x509_svid.to_pem([x509_svid.read_der(der) for der in bundle.x509_authorities])
