"""Certificates and keys between DER and PEM, with the standard library alone."""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Sequence

from sira_client.identity import der

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(r"-----BEGIN (?P<kind>[A-Z0-9 ]*)PRIVATE KEY-----\s.*?-----END (?P=kind)PRIVATE KEY-----", re.DOTALL)


def read_certificates(pem: bytes) -> list[bytes]:
    """Returns the certificates in a PEM file, DER.

    Raises:
        ValueError: there is none, or one is malformed.
    """
    found = [ssl.PEM_cert_to_DER_cert(block) for block in _CERTIFICATE.findall(_text(pem))]
    if not found:
        raise ValueError("must hold a PEM certificate")
    for certificate in found:
        if len(der.split(certificate)) != 1:
            raise ValueError("must hold one certificate in each PEM block")
    return found


def check_key(pem: bytes) -> bytes:
    """Returns a PEM file if it holds one private key that is not encrypted.

    Raises:
        ValueError: it does not. Says nothing of what it holds.
    """
    text = _text(pem)
    kinds = [match["kind"] for match in _KEY.finditer(text)]
    if len(kinds) != 1:
        raise ValueError("must hold one PEM private key")
    if kinds[0] == "ENCRYPTED " or "Proc-Type: 4,ENCRYPTED" in text:
        raise ValueError("must hold a private key that is not encrypted")
    return pem


def write_certificates(certificates: Sequence[bytes]) -> bytes:
    """Writes certificates, given in DER, as PEM."""
    return "".join(ssl.DER_cert_to_PEM_cert(certificate) for certificate in certificates).encode()


def write_key(key: bytes) -> bytes:
    """Writes a PKCS #8 private key, given in DER, as PEM.

    Raises:
        ValueError: it is none.
    """
    encoded = base64.b64encode(der.check_pkcs8(key)).decode()
    lines = [encoded[at : at + 64] for at in range(0, len(encoded), 64)]
    return "\n".join(("-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", "")).encode()


def _text(pem: bytes) -> str:
    """PEM is ASCII; what a file holds around its blocks need not be."""
    return pem.decode("ascii", errors="replace")
