"""Identity directories: whether what they hold counts, fits, and is closed to others."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sira_grpc.cli.doctor import files
from sira_grpc.cli.doctor.findings import Finding, error

if TYPE_CHECKING:
    from cryptography import x509

    from sira_grpc.svid.identity_directory import IdentityFiles

RENEW = "see that the agent (or kernel) that renews it runs, or join or issue anew"
ANEW = "join or issue anew"


def inspect(directory: Path, now: float) -> Iterator[Finding]:
    """Yields what is wrong with an identity directory.

    Args:
        directory: where it is.
        now: Unix seconds.
    """
    from sira_grpc.svid import identity_directory, x509_svid

    try:
        held = identity_directory.read(directory)
    except OSError as problem:
        where = problem.filename or directory
        yield error(directory, f"is no identity directory that can be read: {where}: {problem.strerror}", ANEW)
        return
    yield from _access(directory)
    svid, bundle = directory / identity_directory.SVID, directory / identity_directory.BUNDLE
    try:
        chain = x509_svid.read_pem(held.svid)
        x509_svid.identity_of(chain[0])
    except ValueError as problem:
        yield error(svid, str(problem), ANEW)
        return
    yield from files.times(svid, chain[0], now, RENEW)
    yield from _key(directory, held, chain[0])
    yield from _revoked(directory, held, chain[0])
    try:
        roots = x509_svid.read_pem(held.bundle)
    except ValueError as problem:
        yield error(bundle, str(problem), ANEW)
        return
    yield from _chain(directory, chain, roots, now)


def _access(directory: Path) -> Iterator[Finding]:
    from sira_grpc.svid import identity_directory

    yield from files.secrecy(directory / identity_directory.KEY)
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield error(directory, f"may be written to by others (mode {mode:o})", "chmod 700 it")


def _key(directory: Path, held: IdentityFiles, leaf: x509.Certificate) -> Iterator[Finding]:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from sira_grpc.svid import identity_directory

    path = directory / identity_directory.KEY
    try:
        fits = load_pem_private_key(held.key, None).public_key() == leaf.public_key()
    except (ValueError, TypeError):
        yield error(path, "is no unencrypted PEM key", ANEW)
        return
    if not fits:
        yield error(path, f"is not the key of {identity_directory.SVID}", ANEW)


def _revoked(directory: Path, held: IdentityFiles, leaf: x509.Certificate) -> Iterator[Finding]:
    from cryptography import x509

    from sira_grpc.agent.trust import x509_crls
    from sira_grpc.svid import identity_directory

    try:
        lists = [x509.load_der_x509_crl(der) for der in x509_crls(held.crl)]
    except ValueError:
        yield error(directory / identity_directory.CRL, "is no PEM revocation list", RENEW)
        return
    if any(each.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None for each in lists):
        yield error(directory / identity_directory.SVID, "was revoked", "find out why, then join anew")


def _chain(
    directory: Path, chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], now: float
) -> Iterator[Finding]:
    from sira_grpc.svid import identity_directory, x509_svid

    bundle, leaf = directory / identity_directory.BUNDLE, chain[0]
    valid = [root for root in roots if root.not_valid_after_utc.timestamp() > now]
    for root in roots:
        # An old root beside a new one is the end of a rotation, and nothing that needs doing.
        if root in valid or not valid:
            yield from files.times(bundle, root, now, "rotate the root: sira identity rotate")
    try:
        domain = x509_svid.identity_of(leaf).trust_domain
        x509_svid.verify(leaf, chain[1:], {domain: roots}, now=now)
    except x509_svid.SvidExpired:
        return  # which has been found already, and is worse
    except ValueError as problem:
        yield error(bundle, f"does not vouch for {identity_directory.SVID}: {problem}", ANEW)
