"""Certificates and keys in files: their times, whether they fit, and who may read them."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sira_grpc.cli.doctor.findings import Finding, error, note, warning
from sira_grpc.cli.durations import brief

if TYPE_CHECKING:
    from cryptography import x509

SOON = 30 * 86_400.0
"""Seconds before its end at which a certificate is worth a warning, unless a quarter of its life is less."""


def times(subject: Path, certificate: x509.Certificate, now: float, remedy: str) -> Iterator[Finding]:
    """Yields what is wrong with when a certificate is valid.

    Args:
        subject: the file that it is in.
        certificate: a leaf, an intermediate or a root.
        now: Unix seconds.
        remedy: what to do if its end is near, or behind.
    """
    start, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    if now > end:
        yield error(subject, f"expired {_span(now - end)} ago", remedy)
    elif now < start:
        yield error(subject, f"is valid only in {_span(start - now)}", "set the clock of this host right")
    elif end - now < min(SOON, (end - start) / 4):
        yield warning(subject, f"expires in {_span(end - now)}", remedy)


def secrecy(key: Path) -> Iterator[Finding]:
    """Yields what is wrong with who may read or write a private key, or another secret, that is there."""
    mode = stat.S_IMODE(key.stat().st_mode)
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        who = "everybody" if mode & (stat.S_IROTH | stat.S_IWOTH) else "its group, to write"
        yield error(key, f"is open to {who} (mode {mode:o})", "chmod 600 it, and replace what it holds")
    elif mode & stat.S_IRGRP:
        yield note(key, f"may be read by its group (mode {mode:o})", "chmod 600 it, unless that is meant")


def pair(certificate_file: Path, key_file: Path, now: float) -> Iterator[Finding]:
    """Yields what is wrong with a certificate and a key in files of their own."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    found = certificates(certificate_file)
    if isinstance(found, Finding):
        yield found
        return
    yield from times(certificate_file, found[0], now, "have another one issued, and put it there")
    try:
        content = key_file.read_bytes()
        yield from secrecy(key_file)
        key = load_pem_private_key(content, None)
    except OSError as problem:
        yield error(key_file, f"cannot be read: {problem.strerror}", "put the key there, or name where it is")
    except (ValueError, TypeError):
        yield error(key_file, "is no unencrypted PEM key", "put the key there, or name where it is")
    else:
        if key.public_key() != found[0].public_key():
            yield error(key_file, f"is not the key of {certificate_file}", "put those there that belong together")


def authorities(file: Path, now: float) -> Iterator[Finding]:
    """Yields what is wrong with a file of authorities."""
    found = certificates(file)
    if isinstance(found, Finding):
        yield found
        return
    for certificate in found:
        yield from times(file, certificate, now, "get the authority's next certificate")


def certificates(file: Path) -> list[x509.Certificate] | Finding:
    """Returns the certificates in a file, or why there are none."""
    from sira_grpc.svid import x509_svid

    try:
        return x509_svid.read_pem(file.read_bytes())
    except OSError as problem:
        return error(file, f"cannot be read: {problem.strerror}", "put the certificate there, or name where it is")
    except ValueError:
        return error(file, "holds no PEM certificate", "put the certificate there, or name where it is")


def _span(seconds: float) -> str:
    return brief(timedelta(seconds=seconds))
