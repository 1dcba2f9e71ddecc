"""Identity directories, as an authority of a test writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from sira_grpc.svid import identity_directory, x509_svid
from sira_grpc.svid.identity_directory import IdentityFiles
from tests.unit.svid.authority import IDENTITY, Authority, Issued


def write(
    directory: Path,
    authority: Authority,
    issued: Issued | None = None,
    *,
    identity: str = IDENTITY,
    start: float = -600,
    end: float = 3000,
    key: bytes | None = None,
    roots: Sequence[x509.Certificate] = (),
    crl: bytes = b"",
) -> Issued:
    """Writes a directory; what is given in place of what belongs there is taken."""
    issued = issued or authority.issue(identity, start=start, end=end)
    files = IdentityFiles(
        svid=x509_svid.to_pem([issued.certificate]),
        key=key or issued.key_pem,
        bundle=x509_svid.to_pem(roots or [authority.certificate]),
        crl=crl,
    )
    identity_directory.write(directory, files)
    return issued


def revoking(authority: Authority, issued: Issued) -> bytes:
    """A revocation list with a certificate."""
    moment = issued.certificate.not_valid_before_utc
    entry = (
        x509.RevokedCertificateBuilder().serial_number(issued.certificate.serial_number).revocation_date(moment).build()
    )
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.name).last_update(moment)
    made = builder.next_update(issued.certificate.not_valid_after_utc).add_revoked_certificate(entry)
    return made.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.PEM)
