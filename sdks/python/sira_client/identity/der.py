"""Reads DER: as much of it as it takes to split certificates, and to find the SPIFFE ID in one.

Source: ITU-T X.690, section 10; RFC 5280, sections 4.1 and 4.2.1.6.
"""

from __future__ import annotations

from collections.abc import Iterator

_SEQUENCE, _INTEGER, _OCTET_STRING, _OBJECT_IDENTIFIER = 0x30, 0x02, 0x04, 0x06
_EXTENSIONS = 0xA3
"""Tag of the extensions in a certificate."""
_URI = 0x86
"""Tag of a URI among the names of a certificate."""
_ALTERNATIVE_NAMES = bytes((0x55, 0x1D, 0x11))
"""Object identifier 2.5.29.17."""


def split(data: bytes) -> list[bytes]:
    """Splits certificates that are written one after the other.

    Raises:
        ValueError: there is none, or it is no DER.
    """
    found = []
    at = 0
    while at < len(data):
        tag, _, end = _element(data, at)
        if tag != _SEQUENCE:
            raise ValueError("is no DER certificate")
        found.append(data[at:end])
        at = end
    if not found:
        raise ValueError("is empty")
    return found


def check_pkcs8(key: bytes) -> bytes:
    """Returns a private key if it has the form of PKCS #8, not encrypted.

    Raises:
        ValueError: it has not.
    """
    tag, start, end = _element(key, 0)
    tags = [inner for inner, _ in _parts(key[start:end])] if tag == _SEQUENCE and end == len(key) else []
    if tags[:3] != [_INTEGER, _SEQUENCE, _OCTET_STRING]:
        raise ValueError("is no PKCS #8 private key")
    return key


def spiffe_id(certificate: bytes) -> str:
    """The SPIFFE ID in a certificate; empty if it has none, or more than one URI name.

    Raises:
        ValueError: it is no DER certificate.
    """
    uris = [content for tag, content in _alternative_names(certificate) if tag == _URI]
    if len(uris) != 1 or not uris[0].startswith(b"spiffe://"):
        return ""
    return uris[0].decode("ascii")


def _alternative_names(certificate: bytes) -> Iterator[tuple[int, bytes]]:
    body = _inside(_inside(certificate))
    for tag, wrapped in _parts(body):
        if tag != _EXTENSIONS:
            continue
        for _, extension in _parts(_inside(wrapped)):
            identifier, *_, (_, value) = _parts(extension)
            if identifier == (_OBJECT_IDENTIFIER, _ALTERNATIVE_NAMES):
                yield from _parts(_inside(value))


def _inside(data: bytes) -> bytes:
    """The content of the sequence that data begins with."""
    tag, start, end = _element(data, 0)
    if tag != _SEQUENCE:
        raise ValueError("is no DER certificate")
    return data[start:end]


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element."""
    at = 0
    while at < len(data):
        tag, start, at = _element(data, at)
        yield tag, data[start:at]


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """The tag of an element, and where its content begins and ends."""
    head = data[at : at + 2]
    if len(head) < 2 or head[0] & 0x1F == 0x1F:
        raise ValueError("is no DER, or cut off")
    tag, length = head
    start = at + 2
    if length >= 0x80:
        size = length - 0x80
        if not 1 <= size <= 4:
            raise ValueError("is no DER: it has a length that cannot be")
        length = int.from_bytes(data[start : start + size])
        start += size
    if start + length > len(data):
        raise ValueError("is no DER, or cut off")
    return tag, start, start + length
